// Options that commands on artifacts share: which data, on which backend.
import type { ExportOptions } from "../index.ts";
import type { OptionTable, OptionValues } from "./arguments.ts";
import { BACKEND_OPTIONS } from "./backend-options.ts";

/** How data is read and what runs the graphs. */
export const DATA_OPTIONS = {
  data: {
    kind: "text",
    value: "FILE",
    help: "File, folder, or org/name[@revision][:[config/]split] on the Hub",
  },
  sequence: { kind: "number", value: "N", least: 2, whole: true, help: "Tokens of a sequence (default 512)" },
  "batch-size": {
    kind: "number",
    value: "N",
    least: 1,
    whole: true,
    help: "Sequences of a batch (default 1)",
  },
  "train-on": {
    kind: "choice",
    choices: ["assistant", "last", "all"],
    help: "Turns that are targets (default assistant)",
  },
  "on-bad-record": { kind: "choice", choices: ["fail", "skip"], help: "Default fail" },
  ...BACKEND_OPTIONS,
} as const satisfies OptionTable;

/** How a model becomes artifacts. */
export const EXPORT_OPTIONS = {
  "chat-template": { kind: "choice", choices: ["chatml", "model", "none"], help: "Default chatml" },
  "train-embeddings": {
    kind: "choice",
    choices: ["new-rows", "all", "none"],
    help: "Rows of new tokens alone (default), all rows, or none",
  },
  "compute-dtype": {
    kind: "choice",
    choices: ["float32", "float16", "bfloat16"],
    help: "Of activations and matrix products (default float32)",
  },
  recompute: {
    kind: "choice",
    choices: ["none", "layers"],
    help: "layers: less memory, more time (default none)",
  },
} as const satisfies OptionTable;

/** {@link DATA_OPTIONS} as the SDK takes them; what was not given is left out. */
export function readDataOptions(options: OptionValues<typeof DATA_OPTIONS> & { readonly offline: boolean }) {
  const { sequence, backend, threads, offline } = options;
  return {
    ...(sequence !== undefined && { sequence }),
    ...(options["batch-size"] !== undefined && { batchSize: options["batch-size"] }),
    ...(options["train-on"] !== undefined && { trainOn: options["train-on"] }),
    ...(options["on-bad-record"] !== undefined && { onBadRecord: options["on-bad-record"] }),
    ...(backend !== undefined && { backend }),
    ...(threads !== undefined && { threads }),
    // Left out when not set: then HF_HUB_OFFLINE decides.
    ...(offline && { hub: { offline } }),
  };
}

/** {@link EXPORT_OPTIONS} as the SDK takes them; what was not given is left out. */
export function readExportOptions(
  options: Partial<OptionValues<typeof EXPORT_OPTIONS>>,
): Omit<ExportOptions, "out"> {
  const { recompute } = options;
  const chatTemplate = options["chat-template"];
  const trainEmbeddings = options["train-embeddings"];
  const computeDtype = options["compute-dtype"];
  return {
    ...(chatTemplate !== undefined && { chatTemplate }),
    ...(trainEmbeddings !== undefined && { trainEmbeddings }),
    ...(computeDtype !== undefined && { computeDtype }),
    ...(recompute !== undefined && { recompute }),
  };
}
