// Gram matrices, and stage one of their reduction, on one device: the sessions of ONNX Runtime that do it, and what the
// device keeps from one run to the next.
import { type InferenceSession, Tensor } from "onnxruntime-node";
import type { Graph } from "../../../src/onnx/graph.ts";
import type { Provider, ProviderName } from "../providers.ts";
import { type ElementType, type OpenGraphOptions, openGraph } from "../singular-values/products.ts";
import { addingGraph, beginningGraph, productGraph, restGraph, stepGraph, takingGraph } from "./graphs.ts";
import type { Chunk, DeviceMatrix, DeviceRequest, Numbers, PanelUpdate, Sums } from "./protocol.ts";

/** What the device keeps of a matrix. */
interface Kept {
  readonly sum: Tensor;
  readonly rest: Tensor;
}

/** A matrix at work. Calls must not overlap. */
export interface DeviceWork {
  readonly matrix: DeviceMatrix;
  /** The Gram matrix so far. */
  kept: Kept | null;
  /** What is left of it in stage one. */
  square: Tensor | null;
}

/** A matrix that has been begun. */
export function deviceWork(matrix: DeviceMatrix): DeviceWork {
  return { matrix, kept: null, square: null };
}

/** Owns sessions until released: a few for each kind of matrix, of which a model has some dozens at most. */
export class Device {
  readonly #provider: ProviderName;
  readonly #type: ElementType;
  readonly #keeps: boolean;
  readonly #sessions = new Map<string, Promise<InferenceSession>>();

  constructor({ name, float64, keepsTensors }: Pick<Provider, "name" | "float64" | "keepsTensors">) {
    this.#provider = name;
    this.#type = float64 ? "float64" : "float32";
    this.#keeps = keepsTensors;
  }

  /** Does what is asked for, and returns what the answer holds. */
  async answer(
    work: DeviceWork,
    request: Exclude<DeviceRequest, { kind: "begin" }>,
  ): Promise<readonly Numbers[]> {
    switch (request.kind) {
      case "add":
        return this.add(work, request.chunk);
      case "take":
        return this.take(work);
      case "load":
        return this.load(work, request.square);
      case "step":
        return this.step(work, request);
      case "rest":
        return this.rest(work, request.update);
      default:
        return request satisfies never;
    }
  }

  /** Adds the product of a chunk with itself; returns what the device does not keep of it. */
  async add(work: DeviceWork, chunk: Chunk): Promise<Sums> {
    const feeds = feedsOf(work.matrix, chunk);
    if (!this.#keeps) {
      const session = await this.#session("product", work.matrix, productGraph);
      return [numbersOf((await session.run(feeds)).sum)];
    }
    const { kept } = work;
    if (kept === null) {
      const session = await this.#session("begin", work.matrix, beginningGraph);
      work.kept = keptOf(await session.run(feeds));
      return [];
    }
    const session = await this.#session("add", work.matrix, addingGraph);
    work.kept = keptOf(await session.run({ ...feeds, ...stateOf(kept) }));
    dispose(kept);
    return [];
  }

  /** What has been kept; the device has it no longer. */
  async take(work: DeviceWork): Promise<Sums> {
    const { kept } = work;
    if (kept === null) return [];
    const session = await this.#session("take", work.matrix, takingGraph);
    const { sum, rest } = await session.run(stateOf(kept));
    this.drop(work);
    return [numbersOf(sum), numbersOf(rest)];
  }

  /** Begins stage one; the matrix goes up with its first step. */
  load(work: DeviceWork, square: Float32Array<ArrayBuffer>): readonly Numbers[] {
    const side = Math.sqrt(square.length);
    work.square = new Tensor("float32", square, [side, side]);
    return [];
  }

  /** A panel of stage one: its product with v, and its first columns. */
  async step(
    work: DeviceWork,
    { update, v }: { readonly update: PanelUpdate; readonly v: Float32Array<ArrayBuffer> },
  ): Promise<readonly Numbers[]> {
    const before = squareOf(work);
    const half = halfOf(update);
    const session = await this.#open(`step ${half}`, () => stepGraph(half), { square: KEPT });
    const feeds = { ...updateFeeds(update), v: new Tensor("float32", v, [update.rows, half]) };
    const { square, y, panel } = await session.run({ ...feeds, square_before: before });
    before.dispose();
    work.square = square ?? null;
    return [numbersOf(y), numbersOf(panel)];
  }

  /** What is left after the last panel. */
  async rest(work: DeviceWork, update: PanelUpdate): Promise<readonly Numbers[]> {
    const before = squareOf(work);
    const half = halfOf(update);
    const session = await this.#open(`rest ${half}`, () => restGraph(half));
    const { square } = await session.run({ ...updateFeeds(update), square_before: before });
    this.drop(work);
    return [numbersOf(square)];
  }

  drop(work: DeviceWork): void {
    if (work.kept !== null) dispose(work.kept);
    work.kept = null;
    work.square?.dispose();
    work.square = null;
  }

  async release(): Promise<void> {
    for (const session of this.#sessions.values()) await (await session).release();
    this.#sessions.clear();
  }

  #session(
    name: string,
    matrix: DeviceMatrix,
    build: (matrix: DeviceMatrix, type: ElementType) => Graph,
  ): Promise<InferenceSession> {
    const kept: OutputLocations = name === "take" ? {} : { sum: KEPT, rest: KEPT };
    return this.#open(`${name} ${Object.values(matrix)}`, () => build(matrix, this.#type), kept);
  }

  /** The session of that name, opened when first asked for. */
  #open(name: string, build: () => Graph, kept: OutputLocations = {}): Promise<InferenceSession> {
    const known = this.#sessions.get(name);
    if (known !== undefined) return known;
    const locations = this.#keeps ? kept : {};
    const opened = openGraph(build(), { name, provider: this.#provider, locations });
    this.#sessions.set(name, opened);
    opened.catch(() => this.#sessions.delete(name)); // the next matrix may find room for it
    return opened;
  }
}

const KEPT = "gpu-buffer";

type OutputLocations = NonNullable<OpenGraphOptions["locations"]>;

function squareOf({ square }: DeviceWork): Tensor {
  if (square === null) throw new Error("no matrix has been loaded");
  return square;
}

function halfOf({ left, rows }: PanelUpdate): number {
  return left.length / rows / 2;
}

function updateFeeds({ left, right, rows }: PanelUpdate): Record<string, Tensor> {
  const dims = [rows, left.length / rows];
  return { left: new Tensor("float32", left, dims), right: new Tensor("float32", right, dims) };
}

function feedsOf(
  { elements, n, wide }: DeviceMatrix,
  { bytes, depth, table }: Chunk,
): Record<string, Tensor> {
  const dims = wide ? [n, depth] : [depth, n];
  switch (elements) {
    case "codes": {
      if (table === null) throw new Error("codes came without their table");
      const words = new Uint32Array(bytes);
      const type = table instanceof Float32Array ? "float32" : "float64";
      return {
        chunk: new Tensor("uint32", words, [words.length]),
        table: new Tensor(type, table, [table.length]),
      };
    }
    case "float32":
      return { chunk: new Tensor(elements, new Float32Array(bytes), dims) };
    case "float64":
      return { chunk: new Tensor(elements, new Float64Array(bytes), dims) };
    default:
      return elements satisfies never;
  }
}

function keptOf({ sum, rest }: InferenceSession.OnnxValueMapType): Kept {
  if (sum === undefined || rest === undefined) throw new Error("a sum is missing");
  return { sum, rest };
}

function stateOf({ sum, rest }: Kept): Record<string, Tensor> {
  return { sum_before: sum, rest_before: rest };
}

function dispose({ sum, rest }: Kept): void {
  sum.dispose();
  rest.dispose();
}

/** A result in memory that can be handed over. */
function numbersOf(tensor: Tensor | undefined): Numbers {
  const numbers = tensor?.data;
  if (numbers instanceof Float32Array || numbers instanceof Float64Array) {
    const { buffer, byteOffset, length } = numbers;
    if (buffer instanceof ArrayBuffer) {
      return numbers instanceof Float32Array
        ? new Float32Array(buffer, byteOffset, length)
        : new Float64Array(buffer, byteOffset, length);
    }
  }
  throw new TypeError(`expected a sum of floats in memory that can be handed over, got ${tensor?.type}`);
}
