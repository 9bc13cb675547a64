// The Gram matrix by a device, as the thread sees it that does the rest: chunks go there as they come, and what comes
// back is added up here.
import { floatDTypeBytes, type MatrixDType } from "../../../src/tensor/dtype.ts";
import { DTYPE_NUMBER } from "../../wasm/kernels.ts";
import type { MatrixHeader } from "../../wasm/singular-values/layout.ts";
import { diagonalOf } from "./blocks.ts";
import type { DeviceClient } from "./device-client.ts";
import { STRIP } from "./device-graphs.ts";
import type { Chunk, Sums } from "./device-protocol.ts";
import { gramOf, type Workplace } from "./gram.ts";
import type { HybridLayout } from "./layout.ts";
import { tableOf, type Upload, uploadOf } from "./upload.ts";

/** The rows or columns at hand. */
export interface DevicePart {
  readonly dtype: MatrixDType;
  readonly depth: number;
  /** They are multiplied by it first. */
  readonly factor: number;
}

type Table = Chunk["table"];

/** One matrix at a time. It owns the port to the device until closed. */
export class DeviceGram {
  /** Whether the device has no doubles. */
  readonly floats: boolean;
  readonly #client: DeviceClient;
  /** Chunks that have not been answered, in order. */
  #asked: Promise<Sums>[] = [];
  #table: { readonly key: string; readonly table: Table } | null = null;

  constructor(client: DeviceClient, floats: boolean) {
    this.#client = client;
    this.floats = floats;
  }

  /** How a matrix travels. */
  upload(header: MatrixHeader): Upload {
    return uploadOf(header, this.floats);
  }

  begin({ n, order, width, wide }: HybridLayout, { elements }: Upload): void {
    this.#asked = [];
    this.#client.begin({ elements, n, order, width, wide });
  }

  /** Sends what stands in the area of undecoded bytes; returns once there is room for more. */
  async add(work: Workplace, upload: Upload, part: DevicePart): Promise<void> {
    while (this.#asked.length >= upload.ahead) await this.#receive(work);
    const chunk = this.#chunk(work, upload, part);
    const asked = this.#client.add(chunk);
    asked.catch(() => {}); // thrown by the step that waits for it
    this.#asked.push(asked);
  }

  /** Adds what is on its way, and what the device keeps, to the Gram matrix. */
  async settle(work: Workplace): Promise<void> {
    while (this.#asked.length > 0) await this.#receive(work);
    addSums(work, await this.#client.take());
  }

  close(): void {
    this.#client.close();
  }

  async #receive(work: Workplace): Promise<void> {
    const asked = this.#asked.shift();
    if (asked !== undefined) addSums(work, await asked);
  }

  /** Whole strips, the last of them filled up with zeros; decoded where they were if they are not codes. */
  #chunk(
    { kernels, memory, layout }: Workplace,
    { elements }: Upload,
    { dtype, depth, factor }: DevicePart,
  ): Chunk {
    const { raw, n } = layout;
    const bytes = floatDTypeBytes(dtype);
    const strips = STRIP * Math.ceil(depth / STRIP);
    const count = n * strips;
    new Uint8Array(memory, raw + bytes * n * depth, bytes * n * (strips - depth)).fill(0);
    const whole = () => memory.slice(raw, raw + bytes * count);
    if (elements === "codes") return { depth: strips, table: this.#tableOf(dtype, factor), bytes: whole() };
    if (bytes === 8) kernels.decode(raw, DTYPE_NUMBER[dtype], count, factor, raw);
    else if (factor !== 1) kernels.decodeFloats(raw, DTYPE_NUMBER[dtype], count, factor, raw);
    const isRounded = bytes === 8 && elements === "float32";
    const rounded = isRounded ? new Float32Array(new Float64Array(memory, raw, count)).buffer : whole();
    return { depth: strips, table: null, bytes: rounded };
  }

  #tableOf(dtype: MatrixDType, factor: number): Table {
    const key = `${dtype} ${factor}`;
    if (this.#table?.key !== key)
      this.#table = { key, table: tableOf(dtype, { factor, floats: this.floats }) };
    return this.#table.table;
  }
}

/** Of floats the diagonal comes twice: the one by strips, at the end, is the one to add. */
function addSums({ memory, layout }: Workplace, sums: Sums): void {
  const { n, blocks, blocksDoubles } = layout;
  const gram = new Float64Array(memory, blocks, blocksDoubles);
  const diagonal = diagonalOf(gramOf(layout), n).map((at) => (at - blocks) / gram.BYTES_PER_ELEMENT);
  for (const sum of sums) {
    for (let i = 0; i < gram.length; i++) gram[i] = (gram[i] ?? 0) + (sum[i] ?? 0);
    if (sum.length === gram.length) continue;
    for (const [i, at] of diagonal.entries())
      gram[at] = (gram[at] ?? 0) - (sum[at] ?? 0) + (sum[gram.length + i] ?? 0);
  }
}
