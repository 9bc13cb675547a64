// Whether the artifacts of a run are what a command line that resumes it asks for.
import { resolve } from "node:path";
import {
  type Manifest,
  openModel,
  readManifest,
  readSelection,
  resolveParameters,
  UsageError,
} from "../index.ts";

/** What a command line asks for; undefined where it says nothing. */
export interface AskedArtifacts {
  readonly model: string;
  readonly selection: string | undefined;
  readonly "top-percent": number | undefined;
  readonly "chat-template": string | undefined;
  readonly "train-embeddings": string | undefined;
  readonly "compute-dtype": string | undefined;
  readonly recompute: string | undefined;
  readonly revision: string | undefined;
  readonly offline: boolean;
}

/** What a manifest says of a selection that a scan decided. */
export function topSource(topPercent: number): string {
  return `top ${topPercent} % of each type by a scan`;
}

/**
 * Resuming takes the artifacts of the run as they are: what is asked for has to be what they were made of.
 *
 * @throws UsageError naming what differs.
 */
export async function checkResumedArtifacts(folder: string, asked: AskedArtifacts): Promise<void> {
  const manifest = await readManifest(folder);
  const { model, selection, chatTemplate, trainEmbeddings, computeDtype, recompute } = manifest;
  const [id = "", stated] = asked.model.startsWith(`${model.id}@`)
    ? splitRevision(asked.model)
    : [asked.model];
  const top = asked["top-percent"];
  const isBaseFolder = model.revision === null && resolve(id) === model.id;
  const wanted = [
    ["model", model.id, isBaseFolder ? model.id : id],
    ["selection", selection.source, top === undefined ? undefined : topSource(top)],
    ["chat template", chatTemplate, asked["chat-template"]],
    ["trained embeddings", trainEmbeddings, asked["train-embeddings"]],
    ["compute dtype", computeDtype, asked["compute-dtype"]],
    ["recomputation of", recompute, asked.recompute],
  ] as const;
  for (const [what, made, want] of wanted)
    if (want !== undefined && want !== made) throw differs(folder, `${what} ${want}`, made);
  const revision = asked.revision ?? stated;
  if (revision !== undefined) await checkRevision(folder, manifest, { ...asked, model: id, revision });
  if (asked.selection === undefined || trainsJust(await namesIn(asked.selection, manifest), manifest)) return;
  const sameFile = asked.selection === selection.source;
  const made = sameFile ? "other names, which that file held then" : selection.source;
  throw differs(folder, `selection ${asked.selection}`, made);
}

function splitRevision(id: string): readonly [string, string] {
  const at = id.indexOf("@");
  return [id.slice(0, at), id.slice(at + 1)];
}

/** A branch or tag is looked up: it may have moved. */
async function checkRevision(
  folder: string,
  manifest: Manifest,
  asked: { readonly model: string; readonly revision: string; readonly offline: boolean },
): Promise<void> {
  const made = manifest.model.revision;
  if (asked.revision === made) return;
  const { model, revision, offline } = asked;
  await using opened = await openModel(model, { revision, stream: true, ...(offline && { offline }) });
  if (opened.revision !== made) throw differs(folder, `revision ${revision} (${opened.revision})`, `${made}`);
}

/** The names in a selection file, as the checkpoint has them. */
async function namesIn(path: string, { selection }: Manifest): Promise<ReadonlySet<string>> {
  const named = await readSelection(path);
  const known = [...selection.parameterNames, ...named.map(({ name }) => name)];
  return new Set(resolveParameters(named, known).map(({ name }) => name));
}

/** Whether these names give what trains, to which `--train-embeddings all` adds the tables of embedding and head. */
function trainsJust(names: ReadonlySet<string>, { selection, trainEmbeddings }: Manifest): boolean {
  const isTable = (name: string) => /(^|\.)(embed_tokens|lm_head)\.weight$/.test(name);
  const modules = (all: Iterable<string>) => [...all].filter((name) => !isTable(name)).sort();
  const trained = selection.parameterNames;
  // A tied head stands for the embedding: one name or the other.
  const sameTables = [...names].some(isTable) === trained.some(isTable);
  return modules(names).join() === modules(trained).join() && (trainEmbeddings === "all" || sameTables);
}

function differs(folder: string, wanted: string, made: string): UsageError {
  return new UsageError(
    `Cannot resume with the ${wanted}: ${folder} was made with ${made}; resume with that, or begin a run in another folder`,
  );
}
