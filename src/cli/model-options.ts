// How commands that take a MODEL open it: the options they share, and the download on the way.
import {
  type DownloadState,
  type Model,
  type OpenModelOptions,
  openBaseModel,
  openModel,
  renderDownload,
} from "../index.ts";
import type { OptionTable, OptionValues } from "./arguments.ts";
import type { CommandContext } from "./command.ts";
import { progressReporter } from "./progress.ts";

/** Options of every command that opens a model. */
export const MODEL_OPTIONS = {
  revision: { kind: "text", value: "NAME", help: "Branch, tag or commit on the Hub (default main)" },
  stream: { kind: "flag", help: "Read a Hub model without storing its weights" },
  offline: { kind: "flag", help: "Take a Hub model from the cache alone" },
} as const satisfies OptionTable;

/** Opens MODEL as the options say, showing the download where there is one. */
export async function openNamedModel(
  id: string,
  { revision, stream, offline }: OptionValues<typeof MODEL_OPTIONS>,
  context: OpeningContext,
): Promise<Model> {
  return showDownload({ offline }, context, (options) =>
    openModel(id, { ...options, ...(revision !== undefined && { revision }), stream }),
  );
}

/** Opens the base model of artifacts, showing the download where there is one. */
export async function openNamedBase(
  artifacts: string,
  { offline }: { readonly offline: boolean },
  context: OpeningContext,
): Promise<Model> {
  return showDownload({ offline }, context, (options) => openBaseModel(artifacts, options));
}

type OpeningContext = Pick<CommandContext, "terminal" | "signal">;

async function showDownload(
  { offline }: { readonly offline: boolean },
  { terminal, signal }: OpeningContext,
  open: (options: Pick<OpenModelOptions, "offline" | "onProgress" | "signal">) => Promise<Model>,
): Promise<Model> {
  const progress = progressReporter<DownloadState>(terminal, renderDownload);
  const began = performance.now();
  try {
    return await open({
      // Left out when not set: then HF_HUB_OFFLINE decides.
      ...(offline && { offline }),
      onProgress: (state) => progress.report({ ...state, elapsedMs: performance.now() - began }),
      signal,
    });
  } finally {
    terminal.clearStatus();
  }
}
