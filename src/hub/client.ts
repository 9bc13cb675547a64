// HTTP to a Hub about one repository: redirects, authorization, timeouts, and answers that say no. Retries are the
// caller's, with retry.ts, because only the caller knows what is still missing.
import { HubError } from "../errors.ts";
import { type HubRepo, PLACES, repoPath } from "./repo.ts";
import { parseRetryAfter, type RetryPolicy, retrying, TransientError } from "./retry.ts";
import type { HubSettings } from "./settings.ts";

const MAX_REDIRECTS = 8;

/** The longest answer of the Hub's API that is read. */
const MAX_API_BYTES = 64 * 2 ** 20;

/** What a client needs to know. */
export interface HubClientOptions {
  readonly repo: HubRepo;
  readonly settings: Pick<HubSettings, "endpoint" | "token">;
  readonly policy: RetryPolicy;
  readonly signal?: AbortSignal | undefined;
}

/** Options of one request. */
export interface GetOptions {
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

/** An answer whose body has not been read. */
export interface HubAnswer {
  /** 200, 206 or 416; everything else is thrown. */
  readonly status: number;
  readonly headers: Headers;
  /** Throws TransientError when it breaks off; ends early when the Hub ends early. */
  readonly body: AsyncIterable<Uint8Array>;
  /** Drops the connection, read or not. */
  close(): void;
}

/** Asks a Hub about one repository. */
export interface HubClient extends HubClientOptions {
  /**
   * One GET, redirects followed; the token goes to the endpoint's own origin alone.
   *
   * @throws TransientError when it may work later; HubError when the Hub refuses.
   */
  get(url: string, options?: GetOptions): Promise<HubAnswer>;
  /** A `fetch` for `@huggingface/hub`: {@link get} with retries, the whole body read, at most 64 MiB of it. */
  readonly fetch: typeof fetch;
}

/** A client for one repository. */
export function hubClient(options: HubClientOptions): HubClient {
  const client: HubClient = {
    ...options,
    get: (url, request = {}) => get(options, url, request),
    fetch: (input) => fetchWhole(client, input instanceof Request ? input.url : String(input)),
  };
  return client;
}

async function get(client: HubClientOptions, url: string, request: GetOptions): Promise<HubAnswer> {
  const connection = openConnection(client, [client.signal, request.signal]);
  try {
    const response = await follow(client, url, request, connection);
    if ([200, 206, 416].includes(response.status)) {
      return {
        status: response.status,
        headers: response.headers,
        body: readBody(response, connection, url),
        close: connection.close,
      };
    }
    throw refusal(response, client);
  } catch (error) {
    connection.close();
    throw error;
  }
}

async function follow(
  client: HubClientOptions,
  first: string,
  request: GetOptions,
  connection: Connection,
): Promise<Response> {
  const { endpoint, token } = client.settings;
  let url = new URL(first);
  for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
    const headers = new Headers({
      "user-agent": "spectrum-tune",
      "accept-encoding": "identity",
      ...request.headers,
    });
    const isHub = url.origin === new URL(endpoint).origin;
    if (token !== null && isHub) headers.set("authorization", `Bearer ${token}`);
    const response = await connection.wait(
      fetch(url.href, { headers, redirect: "manual", signal: connection.signal }),
      url.href,
    );
    if (![301, 302, 303, 307, 308].includes(response.status)) return response;
    const location = response.headers.get("location") ?? "";
    if (response.body) await connection.wait(response.body.cancel(), url.href);
    url = redirectTarget(location, url);
  }
  throw new HubError(`Cannot read ${first}: more than ${MAX_REDIRECTS} redirects`, { status: null });
}

function redirectTarget(location: string, from: URL): URL {
  const target = URL.canParse(location, from.href) ? new URL(location, from) : null;
  const secure = target?.protocol === "https:" || (target?.protocol === "http:" && from.protocol === "http:");
  if (target !== null && secure) return target;
  throw new HubError(
    `Cannot read ${from.origin}${from.pathname}: it redirects to ${JSON.stringify(location.slice(0, 200))}`,
    { status: null },
  );
}

/** The life of one request: a timer for silence, and the callers' signals. */
interface Connection {
  readonly signal: AbortSignal;
  /** Waits for the other side, but not for ever; failures become TransientErrors. */
  wait<T>(work: Promise<T>, url: string): Promise<T>;
  close(): void;
}

function openConnection(
  { repo, policy: { idleTimeoutMs } }: HubClientOptions,
  signals: readonly (AbortSignal | undefined)[],
): Connection {
  const callers = signals.filter((signal) => signal !== undefined);
  const own = new AbortController();
  return {
    signal: AbortSignal.any([own.signal, ...callers]),
    async wait(work, url) {
      const timer = setTimeout(
        () => own.abort(new Error(`no answer for ${idleTimeoutMs} ms`)),
        idleTimeoutMs,
      );
      try {
        return await work;
      } catch (cause) {
        for (const signal of callers) signal.throwIfAborted();
        throw new TransientError(`Cannot read ${repo.id} from ${new URL(url).host}: ${reasonOf(cause)}`, {
          cause,
          status: null,
        });
      } finally {
        clearTimeout(timer);
      }
    },
    close: () => own.abort(),
  };
}

/** fetch says "fetch failed" and hides why in the cause. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? reasonOf(error.cause) : error.message || error.name;
}

async function* readBody(
  response: Response,
  connection: Connection,
  url: string,
): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  try {
    for (;;) {
      const chunk = await connection.wait(reader?.read() ?? Promise.resolve(null), url);
      if (chunk === null || chunk.done) return;
      yield chunk.value;
    }
  } finally {
    connection.close();
  }
}

async function fetchWhole(client: HubClient, url: string): Promise<Response> {
  const { policy, signal } = client;
  return retrying(
    async () => {
      const { status, headers, body, close } = await client.get(url, {
        headers: { accept: "application/json" },
      });
      try {
        return new Response(await readBounded(body, url), { status, headers });
      } finally {
        close();
      }
    },
    { policy, signals: [signal] },
  );
}

async function readBounded(body: AsyncIterable<Uint8Array>, url: string): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of body) {
    sizeBytes += chunk.length;
    if (sizeBytes > MAX_API_BYTES) {
      throw new HubError(`Cannot read ${url}: the answer has more than ${MAX_API_BYTES} bytes`, {
        status: 200,
      });
    }
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}

/** The error for a status that is no success. */
function refusal(response: Response, { repo, settings }: HubClientOptions): HubError {
  const { status, headers } = response;
  if (status === 408 || status === 429 || status >= 500) {
    return new TransientError(
      `Cannot read ${repo.id}: ${new URL(settings.endpoint).host} answers ${status}`,
      {
        status,
        retryAfterMs: parseRetryAfter(headers.get("retry-after")),
      },
    );
  }
  return new HubError(`Cannot open ${repo.id}: ${refusalReason(status, headers, { repo, settings })}`, {
    status,
  });
}

function refusalReason(
  status: number,
  headers: Headers,
  { repo, settings }: Pick<HubClientOptions, "repo" | "settings">,
): string {
  const code = headers.get("x-error-code");
  const page = `${settings.endpoint}/${repoPath(repo)}`;
  const token =
    settings.token === null
      ? "set HF_TOKEN to a token that may read it"
      : "use the token of an account that may read it";
  if (code === "GatedRepo" || (status === 403 && code === null)) {
    return `it is gated (${status}); accept its licence at ${page}, and ${token}`;
  }
  if (status === 401 || status === 403) {
    return `there is no such ${repo.kind}, or it is private (${status}), and no ${PLACES[repo.kind]} of that name here; check the name, and ${token}`;
  }
  if (status === 404 && code === "RevisionNotFound") return `it has no revision "${repo.revision}" (404)`;
  if (status === 404)
    return `there is no such ${repo.kind} or file at revision "${repo.revision}" (404); look at ${page}`;
  return `the Hub answers ${status}`;
}
