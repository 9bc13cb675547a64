// The bytes of a module: who they are (for the cache), and as the rows that a backend takes.
import { createHash } from "node:crypto";
import type { MatrixSource } from "../backend.ts";
import type { Model, ModelFile, ModelTensor } from "../hub/model.ts";
import type { ModelModule } from "../modules/module.ts";
import { blockSizeOf } from "../modules/scale.ts";
import { type FloatDType, isFloat8, isFloatDType } from "../tensor/dtype.ts";
import { type BlockScale, blockScale, dequantizeRows } from "../tensor/scale.ts";
import { readAhead } from "./read-ahead.ts";

/** How much of a matrix is asked for at once, in bytes; rounded to whole rows. */
const BLOCK_BYTES = 4 << 20;

/** How much of a matrix may be read while its backend is still busy with others, in bytes. */
const READ_AHEAD_BYTES = 64 << 20;

/** A module with its matrix shape known: what can be scored. */
export interface MatrixModule extends ModelModule {
  readonly matrix: readonly [rows: number, columns: number];
}

/** Where in which file the bytes of something are. */
interface Span {
  readonly file: string;
  readonly begin: number;
  readonly end: number;
}

/**
 * What the score of a module is computed from: its bytes, and the scales that decoding them needs, if any. Of a file whose
 * SHA-256 the Hub states, that and the range; otherwise the SHA-256 of the bytes themselves.
 */
export interface ModuleIdentity {
  readonly content: string;
  readonly scale: string | null;
}

/** Identity of a module; reads it where the Hub does not state what is in the file. */
export async function identityOf(
  model: Model,
  module: MatrixModule,
  signal?: AbortSignal,
): Promise<ModuleIdentity> {
  const { scale } = module;
  return {
    content: await identify(model, spanOf(model, module), signal),
    scale: scale === null ? null : await identify(model, tensorOf(model, scale), signal),
  };
}

/** Options of {@link matrixOf}. */
export interface MatrixOptions {
  /** What the bytes were before: reading ends with an error where they are others now. Null to take what comes. */
  readonly identity: ModuleIdentity | null;
  readonly signal: AbortSignal;
}

/** The module's matrix for a backend: reading begins at once. 8-bit floats are decoded to F32 on the way. */
export async function matrixOf(
  model: Model,
  module: MatrixModule,
  options: MatrixOptions,
): Promise<MatrixSource> {
  const { dtype, matrix, name } = module;
  if (!isFloatDType(dtype)) throw new TypeError(`Cannot score "${name}": ${dtype} holds no real numbers`);
  const scale = await readScale(model, module, options);
  const stored = () => readAhead(readRows(model, module, options), READ_AHEAD_BYTES);
  if (!isFloat8(dtype) && module.scale === null) {
    return { shape: matrix, dtype, rows: restartable(stored), rereadable: true };
  }
  const rows = restartable(() => dequantized(stored(), dtype, scale, matrix[1]));
  return { shape: matrix, dtype: "F32", rows, rereadable: true };
}

/** Starts at once, and again each time it is iterated after the first. */
function restartable<T>(start: () => AsyncIterable<T>): AsyncIterable<T> {
  let started: AsyncIterable<T> | null = start();
  return {
    [Symbol.asyncIterator]() {
      const iterable = started ?? start();
      started = null;
      return iterable[Symbol.asyncIterator]();
    },
  };
}

/** Bytes of the matrix as stored, for progress. */
export function storedBytes(model: Model, module: MatrixModule): number {
  const { begin, end } = spanOf(model, module);
  return end - begin;
}

/** SHA-256 of a whole weights file, in lower-case hex. */
export function hashFile(
  model: Model,
  { name, sizeBytes }: ModelFile,
  signal?: AbortSignal,
): Promise<string> {
  return hash(model, { file: name, begin: 0, end: sizeBytes }, signal);
}

/** Undecoded rows, in blocks of about {@link BLOCK_BYTES}. */
function readRows(
  model: Model,
  module: MatrixModule,
  { identity, signal }: MatrixOptions,
): AsyncIterable<Uint8Array> {
  const span = spanOf(model, module);
  const rowBytes = (span.end - span.begin) / module.matrix[0];
  const blockBytes = Math.max(1, Math.floor(BLOCK_BYTES / rowBytes)) * rowBytes;
  return readUnchanged(model, span, { content: identity?.content ?? null, blockBytes, signal });
}

interface ReadOptions {
  /** Identity of the span as it was before; null when that does not matter. */
  readonly content: string | null;
  readonly blockBytes?: number;
  readonly signal: AbortSignal | undefined;
}

/** The blocks of a span; an error in place of the last one where they are not what they were before. */
async function* readUnchanged(
  model: Model,
  { file, begin, end }: Span,
  { content, blockBytes, signal }: ReadOptions,
): AsyncIterable<Uint8Array> {
  // Where the Hub states a file's SHA-256, nothing was read before.
  const digest = content !== null && fileOf(model, file).sha256 === null ? createHash("sha256") : null;
  const range = { begin, end, ...(blockBytes && { blockBytes }), ...(signal && { signal }) };
  let left = end - begin;
  for await (const block of model.readFile(file, range)) {
    digest?.update(block);
    left -= block.byteLength;
    if (left === 0 && digest && digest.digest("hex") !== content)
      throw new Error(`${file} was changed while it was read; scan again when nothing writes to it`);
    yield block;
  }
}

async function* dequantized(
  blocks: AsyncIterable<Uint8Array>,
  dtype: FloatDType,
  scale: BlockScale,
  columns: number,
): AsyncIterable<Uint8Array> {
  let firstRow = 0;
  for await (const block of blocks) {
    const rows = dequantizeRows(block, dtype, { ...scale, firstRow, columns });
    firstRow += rows.byteLength / 4 / columns;
    yield rows;
  }
}

/** The scales of a quantised module; 1 for the whole of one that has none. */
async function readScale(
  model: Model,
  module: MatrixModule,
  { identity, signal }: MatrixOptions,
): Promise<BlockScale> {
  const { matrix, expert } = module;
  if (module.scale === null) {
    return { values: Float32Array.of(1), valuesPerRow: 1, blockRows: matrix[0], blockColumns: matrix[1] };
  }
  const tensor = tensorOf(model, module.scale);
  if (!isFloatDType(tensor.dtype)) {
    throw new TypeError(`Cannot decode "${module.name}": its scales "${tensor.name}" are ${tensor.dtype}`);
  }
  const whole = await readAll(model, tensor, { content: identity?.scale ?? null, signal });
  const experts = expert === null ? 1 : (tensor.shape[0] ?? 1);
  const size = whole.byteLength / experts;
  return blockScale({
    shape: matrix,
    scaleBytes: expert === null ? whole : whole.subarray(expert * size, (expert + 1) * size),
    scaleDType: tensor.dtype,
    scaleShape: expert === null ? tensor.shape : tensor.shape.slice(1),
    blockSize: blockSizeOf(model.config),
  });
}

async function readAll(model: Model, span: Span, options: ReadOptions): Promise<Uint8Array> {
  const whole = new Uint8Array(span.end - span.begin);
  let at = 0;
  for await (const block of readUnchanged(model, span, options)) {
    whole.set(block, at);
    at += block.byteLength;
  }
  return whole;
}

function identify(model: Model, span: Span, signal?: AbortSignal): Promise<string> | string {
  const file = fileOf(model, span.file);
  return file.sha256 === null ? hash(model, span, signal) : `${file.sha256}:${span.begin}-${span.end}`;
}

async function hash(model: Model, { file, begin, end }: Span, signal?: AbortSignal): Promise<string> {
  const digest = createHash("sha256");
  for await (const block of model.readFile(file, { begin, end, transient: true, ...(signal && { signal }) }))
    digest.update(block);
  return digest.digest("hex");
}

function spanOf(model: Model, { tensor, expert }: MatrixModule): Span {
  const { file, begin, end, shape } = tensorOf(model, tensor);
  if (expert === null) return { file, begin, end };
  const size = (end - begin) / (shape[0] ?? 1);
  return { file, begin: begin + expert * size, end: begin + (expert + 1) * size };
}

function tensorOf(model: Model, name: string): ModelTensor {
  const tensor = model.tensors.get(name);
  if (!tensor) throw new RangeError(`Cannot read tensor "${name}": model ${model.id} has none of that name`);
  return tensor;
}

function fileOf(model: Model, name: string): ModelFile {
  const file = model.files.find((candidate) => candidate.name === name);
  if (!file) throw new RangeError(`Cannot read file "${name}": model ${model.id} has none of that name`);
  return file;
}
