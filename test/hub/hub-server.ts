// A Hub for tests: two real HTTP servers on 127.0.0.1, the Hub and the host that it redirects large files to. It
// answers as huggingface.co does, and misbehaves where a test asks it to.
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";

/** What a request for a file does wrong; each is done once and dropped from the queue. */
export type Fault =
  | { readonly kind: "status"; readonly status: number; readonly headers?: Record<string, string> }
  /** Drops the connection after so many bytes of the body. */
  | { readonly kind: "drop"; readonly after: number }
  /** Answers with the whole file to a request for a range. */
  | { readonly kind: "ignore-range" }
  /** Ends properly, but with so many bytes fewer (or more, when negative) than the file has. */
  | { readonly kind: "short"; readonly by: number }
  /** Right size, wrong content. */
  | { readonly kind: "corrupt" }
  /** Sends a range one byte further on, and says so. */
  | { readonly kind: "wrong-range" }
  | { readonly kind: "silence" }
  | { readonly kind: "redirect"; readonly to: string };

export interface HubRequest {
  readonly host: "hub" | "cdn";
  readonly path: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
  readonly at: number;
}

export interface TestModel {
  /** Content by file name. */
  readonly files: Map<string, Uint8Array>;
  /** `gated`: files need the token; `private`: everything does. */
  readonly access?: "public" | "gated" | "private";
  /** What the listing says instead of the truth. */
  readonly listing?: (entries: Record<string, unknown>[]) => unknown;
}

export interface TestHub {
  readonly url: string;
  readonly cdnUrl: string;
  readonly token: string;
  /** Repositories by their place: `org/name` of a model, `datasets/org/name` of a dataset. */
  readonly models: Map<string, TestModel>;
  readonly requests: HubRequest[];
  /** Faults by file name, or by "api"; the first is done first. */
  readonly faults: Map<string, Fault[]>;
  close(): Promise<void>;
}

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
export const gitSha1 = (bytes: Uint8Array) =>
  createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
const isLfs = (name: string) => /\.(safetensors|bin|parquet)$/.test(name);
export const etagOf = (name: string, bytes: Uint8Array) => (isLfs(name) ? sha256(bytes) : gitSha1(bytes));

export async function startHub(): Promise<TestHub> {
  const requests: HubRequest[] = [];
  const models = new Map<string, TestModel>();
  const faults = new Map<string, Fault[]>();
  const token = "hf_secret";
  const listen = async (
    host: "hub" | "cdn",
    answer: (request: IncomingMessage, response: ServerResponse) => void,
  ) => {
    const server = createServer((request, response) => {
      const { range, authorization } = request.headers;
      requests.push({ host, path: request.url ?? "", range, authorization, at: Date.now() });
      answer(request, response);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return server;
  };
  const hub: Server = await listen("hub", (request, response) => answerHub(request, response));
  const cdn: Server = await listen("cdn", (request, response) => answerCdn(request, response));
  const urlOf = (server: Server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  function answerHub(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? "", "http://hub");
    const path = decodeURIComponent(url.pathname);
    const api = /^\/api\/(models\/|datasets\/)([^/]+\/[^/]+)\/(revision|tree)\/([^?]+)$/.exec(path)?.slice(1);
    const file = /^\/((?:datasets\/)?[^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(path);
    const id = api === undefined ? (file?.[1] ?? "") : `${api[0]}${api[1]}`.replace("models/", "");
    const model = models.get(id);
    const allowed = request.headers.authorization === `Bearer ${token}`;
    const hidden = model?.access === "private" && !allowed;
    if (!model || hidden) refuse(response, 401, "RepoNotFound");
    else if (!["main", COMMIT].includes(api?.[3] ?? file?.[2] ?? ""))
      refuse(response, 404, "RevisionNotFound");
    else if (api) answerApi(response, api[2] === "revision" ? modelInfo(id, model) : tree(model));
    else if (model.access === "gated" && !allowed) {
      refuse(response, request.headers.authorization ? 403 : 401, "GatedRepo");
    } else answerResolve(request, response, { id, name: file?.[3] ?? "", model });
  }

  function answerApi(response: ServerResponse, value: unknown): void {
    if (!misbehave(takeFault("api"), response)) json(response, value);
  }

  function answerResolve(
    request: IncomingMessage,
    response: ServerResponse,
    { id, name, model }: { id: string; name: string; model: TestModel },
  ): void {
    const content = model.files.get(name);
    if (!content) {
      refuse(response, 404, "EntryNotFound");
      return;
    }
    const head = { "x-repo-commit": COMMIT, "accept-ranges": "bytes" };
    if (!isLfs(name)) {
      sendFile(request, response, {
        content,
        fault: takeFault(name),
        headers: { ...head, etag: `"${etagOf(name, content)}"` },
      });
      return;
    }
    response.writeHead(302, {
      ...head,
      location: `${urlOf(cdn)}/${id}/${name}?signature=x`,
      "x-linked-etag": `"${sha256(content)}"`,
      "x-linked-size": content.length,
      etag: '"of-the-pointer"',
    });
    response.end();
  }

  function answerCdn(request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent(new URL(request.url ?? "", "http://cdn").pathname);
    const [, id = "", name = ""] = /^\/((?:datasets\/)?[^/]+\/[^/]+)\/(.+)$/.exec(path) ?? [];
    const content = models.get(id)?.files.get(name);
    if (!content) refuse(response, 404, "EntryNotFound");
    else
      sendFile(request, response, {
        content,
        fault: takeFault(name),
        headers: { etag: '"of-the-cdn"' },
      });
  }

  const takeFault = (name: string) => faults.get(name)?.shift();

  return {
    url: urlOf(hub),
    cdnUrl: urlOf(cdn),
    token,
    models,
    requests,
    faults,
    async close() {
      for (const server of [hub, cdn]) {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      }
    },
  };
}

function modelInfo(id: string, model: TestModel): unknown {
  const siblings = [...model.files.keys()].map((rfilename) => ({ rfilename }));
  return {
    _id: "1",
    id,
    modelId: id,
    sha: COMMIT,
    siblings,
    private: false,
    gated: false,
    lastModified: "2025-01-01T00:00:00.000Z",
  };
}

function tree(model: TestModel): unknown {
  const entries = [...model.files].map(([path, content]) => ({
    type: "file",
    path,
    size: content.length,
    oid: gitSha1(content),
    ...(isLfs(path) ? { lfs: { oid: sha256(content), size: content.length, pointerSize: 130 } } : {}),
  }));
  return model.listing ? model.listing(entries) : entries;
}

function json(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { "content-type": "application/json" });
  response.end(typeof value === "string" ? value : JSON.stringify(value));
}

function refuse(response: ServerResponse, status: number, code: string): void {
  response.writeHead(status, { "x-error-code": code, "content-type": "application/json" });
  response.end(JSON.stringify({ error: code }));
}

/** Faults that need no file. */
function misbehave(fault: Fault | undefined, response: ServerResponse): boolean {
  if (fault?.kind === "status") {
    response.writeHead(fault.status, fault.headers);
    response.end();
  } else if (fault?.kind === "redirect") {
    response.writeHead(302, { location: fault.to });
    response.end();
  } else return fault?.kind === "silence";
  return true;
}

interface Sending {
  readonly content: Uint8Array;
  readonly fault: Fault | undefined;
  readonly headers: Record<string, string>;
}

function sendFile(
  request: IncomingMessage,
  response: ServerResponse,
  { content, fault, headers }: Sending,
): void {
  if (misbehave(fault, response)) return;
  const range =
    fault?.kind === "ignore-range" ? null : /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  const begin = Number(range?.[1] ?? 0);
  const end = range?.[2] ? Number(range[2]) + 1 : content.length;
  if (begin >= content.length && range) {
    refuse(response, 416, "");
    return;
  }
  const shift = fault?.kind === "wrong-range" ? 1 : 0;
  const contentRange = { "content-range": `bytes ${begin + shift}-${end - 1 + shift}/${content.length}` };
  let body = content.subarray(begin + shift, end + shift);
  if (fault?.kind === "corrupt") body = body.map((byte) => byte ^ 0x40);
  if (fault?.kind === "short") {
    body = Buffer.concat([
      body.subarray(0, Math.min(body.length, body.length - fault.by)),
      Buffer.alloc(Math.max(0, -fault.by)),
    ]);
  }
  response.writeHead(range ? 206 : 200, {
    ...headers,
    ...(range ? contentRange : {}),
    "content-length": fault?.kind === "drop" ? end - begin : body.length,
  });
  if (request.method === "HEAD") {
    response.end();
  } else if (fault?.kind === "drop") {
    response.write(body.subarray(0, fault.after), () => setTimeout(() => response.destroy(), 20));
  } else response.end(body);
}
