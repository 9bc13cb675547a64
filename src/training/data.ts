// A dataset as the trainer takes it: read with the artifacts' tokenizer and template, packed on disk, cut into batches.
import { loadTokenizer } from "../chat/load-tokenizer.ts";
import { type PackDatasetOptions, type PackedDataset, packDataset } from "../chat/packed-dataset.ts";
import { chatTemplate } from "../chat/template.ts";
import type { ChatTokenizer } from "../chat/tokenizer.ts";
import { UsageError } from "../errors.ts";
import type { OpenDatasetOptions } from "../hub/open-dataset.ts";
import type { BatchSource } from "./batch-source.ts";
import type { RunSettings } from "./checkpoint.ts";
import { fetchDataset } from "./dataset.ts";
import type { Manifest } from "./manifest.ts";
import { packedBatches } from "./packed-batches.ts";
import { readManifest } from "./read-manifest.ts";

/** Positions of a sequence when nobody says; fewer where the model has fewer. */
const DEFAULT_SEQUENCE = 512;

/** Options of {@link openTrainingData}. */
export interface TrainingDataOptions
  extends Pick<PackDatasetOptions, "packing" | "onBadRecord" | "onSkip" | "onProgress" | "signal"> {
  /** Folder for the packed tokens; a dataset that is packed there already is not packed again. */
  readonly folder: string;
  /** Positions of a sequence, at most the model's; default 512. */
  readonly sequence?: number;
  /** Sequences of a batch; default 1. */
  readonly batchSize?: number;
  /** Shuffles each epoch anew; null keeps the order. Default 0. */
  readonly seed?: number | null;
  /** Default `assistant`. */
  readonly trainOn?: PackDatasetOptions["trainOn"];
  /** What the caller may want to know and did not ask for: how many records were cut to the sequence. */
  readonly onNote?: (note: string) => void;
  /** How to get at a dataset on the Hub; default: as the environment says. */
  readonly hub?: Omit<OpenDatasetOptions, "signal">;
}

/** Packed data, and what of it there is. */
export interface TrainingData extends BatchSource {
  readonly dataset: PackedDataset;
}

/**
 * Opens a dataset for training or evaluating artifacts.
 *
 * @param data a file or a folder (JSON Lines, JSON, CSV, Parquet), or a dataset on the Hub as {@link fetchDataset} reads
 * its name.
 * @throws UsageError for options that cannot be, data that is not there, or a record with tokens that the
 * model does not have; HubError when the Hub refuses or fails; Error naming the first record that cannot be used, unless
 * these are skipped.
 */
export async function openTrainingData(
  artifacts: string,
  data: string,
  options: TrainingDataOptions,
): Promise<TrainingData> {
  const manifest = await readManifest(artifacts);
  const { batchSize = 1, seed = 0, trainOn = "assistant" } = options;
  checkBatchSize(options);
  const sequence = sequenceOf(options, manifest);
  if (sequence > manifest.maxSequence)
    throw new UsageError(
      `Cannot take sequences of ${sequence} tokens: ${manifest.model.id} has ${manifest.maxSequence} positions`,
    );
  const tokenizer = await tokenizerOf(artifacts, manifest);
  const template = chatTemplate(manifest.chatTemplate, tokenizer?.tokenizerConfig ?? {});
  const { signal } = options;
  const files = await fetchDataset(data, { ...options.hub, ...(signal && { signal }) });
  const { vocabularySize } = manifest;
  const packing = { ...options, sequence, trainOn, tokenizer, template, vocabularySize };
  const dataset = await packDataset(files, packing);
  const cuts = describeCuts(dataset.header);
  if (cuts !== null) options.onNote?.(`${data}: ${cuts}`);
  const batches = packedBatches(dataset, { batchSize, seed });
  return { dataset, ...batches, settings: { ...dataSettings(options, manifest), ...batches.settings } };
}

/** What of the records did not fit into a sequence; null where all did. */
function describeCuts(header: PackedDataset["header"]): string | null {
  const { truncatedRecords: cut, truncatedTokens, droppedRecords: dropped, records, sequence } = header;
  if (cut + dropped === 0) return null;
  const parts = [
    ...(cut > 0 ? [`${cut} lost ${truncatedTokens} tokens at their end`] : []),
    ...(dropped > 0 ? [`${dropped} are left out, their first ${sequence} tokens hold no target`] : []),
  ];
  return `of ${records + dropped} records, ${cut + dropped} are longer than the ${sequence} tokens of a sequence: ${parts.join("; ")}`;
}

/** What decides which batches come and is known before the data is read. */
export function dataSettings(
  options: Omit<TrainingDataOptions, "folder">,
  manifest: Pick<Manifest, "maxSequence">,
): RunSettings {
  const { batchSize = 1, seed = 0, trainOn = "assistant", packing = true, onBadRecord = "fail" } = options;
  return { sequence: sequenceOf(options, manifest), batchSize, seed, trainOn, packing, onBadRecord };
}

function sequenceOf(
  { sequence }: Pick<TrainingDataOptions, "sequence">,
  { maxSequence }: Pick<Manifest, "maxSequence">,
): number {
  return sequence ?? Math.min(DEFAULT_SEQUENCE, maxSequence);
}

/** @throws UsageError when there can be no such batches. */
export function checkBatchSize({ batchSize = 1 }: Pick<TrainingDataOptions, "batchSize">): void {
  if (Number.isSafeInteger(batchSize) && batchSize >= 1) return;
  throw new UsageError(`Cannot make batches of ${batchSize} sequences: expected a whole number from 1`);
}

/** The artifacts' tokenizer; null where the data is to bring tokens and there is none. */
export async function tokenizerOf(
  artifacts: string,
  { chatTemplate: kind }: Manifest,
): Promise<ChatTokenizer | null> {
  try {
    return await loadTokenizer(artifacts);
  } catch (error) {
    if (kind === "none" && error instanceof UsageError) return null;
    throw error;
  }
}
