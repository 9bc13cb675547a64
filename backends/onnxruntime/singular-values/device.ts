// Gram matrices on one device: the sessions of ONNX Runtime that make them, and what the device keeps between two chunks.
import { type InferenceSession, Tensor } from "onnxruntime-node";
import type { Graph } from "../../../src/onnx/graph.ts";
import type { Provider, ProviderName } from "../providers.ts";
import { addingGraph, beginningGraph, productGraph, takingGraph } from "./device-graphs.ts";
import type { Chunk, DeviceMatrix, Sums } from "./device-protocol.ts";
import { type ElementType, openGraph } from "./products.ts";

/** What the device keeps of a matrix. */
interface Kept {
  readonly sum: Tensor;
  readonly rest: Tensor;
}

/** One at work. Calls must not overlap. */
export interface DeviceSum {
  readonly matrix: DeviceMatrix;
  kept: Kept | null;
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

  /** Adds the product of a chunk with itself; returns what the device does not keep of it. */
  async add(work: DeviceSum, chunk: Chunk): Promise<Sums> {
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
  async take(work: DeviceSum): Promise<Sums> {
    const { kept } = work;
    if (kept === null) return [];
    const session = await this.#session("take", work.matrix, takingGraph);
    const { sum, rest } = await session.run(stateOf(kept));
    this.drop(work);
    return [numbersOf(sum), numbersOf(rest)];
  }

  drop(work: DeviceSum): void {
    if (work.kept !== null) dispose(work.kept);
    work.kept = null;
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
    const key = `${name} ${Object.values(matrix)}`;
    const known = this.#sessions.get(key);
    if (known !== undefined) return known;
    const keeps = this.#keeps && name !== "take";
    const opened = openGraph(build(matrix, this.#type), { name, provider: this.#provider, keeps });
    this.#sessions.set(key, opened);
    return opened;
  }
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
function numbersOf(tensor: Tensor | undefined): Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer> {
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
