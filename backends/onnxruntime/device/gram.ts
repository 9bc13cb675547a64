// The Gram matrix by a device, as the thread sees it that does the rest: chunks go there as they come, and what comes
// back is added up here.
import { floatDTypeBytes, type MatrixDType } from "../../../src/tensor/dtype.ts";
import { DTYPE_NUMBER } from "../../wasm/kernels.ts";
import type { MatrixHeader } from "../../wasm/singular-values/layout.ts";
import type { FloatPlan } from "../singular-values/float-plan.ts";
import type { Workplace } from "../singular-values/gram.ts";
import type { HybridLayout } from "../singular-values/layout.ts";
import type { DeviceClient } from "./client.ts";
import { PAIR } from "./graphs.ts";
import type { Chunk, Sums } from "./protocol.ts";
import { tableOf, type Upload, uploadOf } from "./upload.ts";

/** The rows or columns at hand. */
export interface DevicePart {
  readonly dtype: MatrixDType;
  readonly depth: number;
  /** They are multiplied by it first. */
  readonly factor: number;
}

/** What the device can do. */
export interface DeviceGramOptions {
  /** Whether it has no doubles. */
  readonly floats: boolean;
  /** From which order on it does stage one. */
  readonly stageOrder: number;
}

type Table = Chunk["table"];

/** One matrix at a time. It owns the port to the device until closed. */
export class DeviceGram {
  /** Whether the device has no doubles. */
  readonly floats: boolean;
  readonly client: DeviceClient;
  readonly #stageOrder: number;
  /** Chunks that have not been answered, in order. */
  #asked: Promise<Sums>[] = [];
  #table: { readonly key: string; readonly table: Table } | null = null;

  constructor(client: DeviceClient, { floats, stageOrder }: DeviceGramOptions) {
    this.client = client;
    this.floats = floats;
    this.#stageOrder = stageOrder;
  }

  /** What of a matrix is products of floats. */
  plan({ shape, dtype }: MatrixHeader): FloatPlan {
    if (!this.floats) return "none";
    if (dtype === "F64") return "wasm";
    return Math.min(...shape) >= this.#stageOrder ? "all" : "gram";
  }

  /** How a matrix travels. */
  upload(header: MatrixHeader): Upload {
    return uploadOf(header, this.floats);
  }

  begin({ n, order, width, wide }: HybridLayout, { elements }: Upload): void {
    this.#asked = [];
    this.client.begin({ elements, n, order, width, wide });
  }

  /** Sends what stands in the area of undecoded bytes; returns once there is room for more. */
  async add(work: Workplace, upload: Upload, part: DevicePart): Promise<void> {
    while (this.#asked.length >= upload.ahead) await this.#receive(work);
    const chunk = this.#chunk(work, upload, part);
    const asked = this.client.add(chunk);
    asked.catch(() => {}); // thrown by the step that waits for it
    this.#asked.push(asked);
  }

  /** Adds what is on its way, and what the device keeps, to the Gram matrix. */
  async settle(work: Workplace): Promise<void> {
    while (this.#asked.length > 0) await this.#receive(work);
    addSums(work, await this.client.take());
  }

  close(): void {
    this.client.close();
  }

  async #receive(work: Workplace): Promise<void> {
    const asked = this.#asked.shift();
    if (asked !== undefined) addSums(work, await asked);
  }

  /** Filled up with zeros to an even depth; decoded where they were if they are not codes. */
  #chunk(
    { kernels, memory, layout }: Workplace,
    { elements }: Upload,
    { dtype, depth, factor }: DevicePart,
  ): Chunk {
    const { raw, n } = layout;
    const bytes = floatDTypeBytes(dtype);
    const even = PAIR * Math.ceil(depth / PAIR);
    const count = n * even;
    new Uint8Array(memory, raw + bytes * n * depth, bytes * n * (even - depth)).fill(0);
    const whole = () => memory.slice(raw, raw + bytes * count);
    if (elements === "codes") return { depth: even, table: this.#tableOf(dtype, factor), bytes: whole() };
    if (bytes === 8) kernels.decode(raw, DTYPE_NUMBER[dtype], count, factor, raw);
    else if (factor !== 1) kernels.decodeFloats(raw, DTYPE_NUMBER[dtype], count, factor, raw);
    return { depth: even, table: null, bytes: whole() };
  }

  #tableOf(dtype: MatrixDType, factor: number): Table {
    const key = `${dtype} ${factor}`;
    if (this.#table?.key !== key)
      this.#table = { key, table: tableOf(dtype, { factor, floats: this.floats }) };
    return this.#table.table;
  }
}

function addSums({ memory, layout }: Workplace, sums: Sums): void {
  const gram = new Float64Array(memory, layout.blocks, layout.blocksDoubles);
  for (const sum of sums) {
    for (let i = 0; i < gram.length; i++) gram[i] = (gram[i] ?? 0) + (sum[i] ?? 0);
  }
}
