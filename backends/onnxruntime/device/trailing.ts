// The trailing matrix of stage one on a device: it is updated and multiplied there, and stays there from panel to panel.
// Panels come here to be factored; V and the updates go up.
import { type Blocks, blockRows } from "../singular-values/blocks.ts";
import type { Workplace } from "../singular-values/gram.ts";
import type { DeviceClient } from "./client.ts";
import type { PanelUpdate } from "./protocol.ts";

/** A row-major matrix of floats at an address, with a row for each of the whole. */
export interface FloatRows {
  readonly at: number;
  readonly columns: number;
}

/** What a panel's step takes, and where its product goes. */
export interface StepRows {
  readonly left: FloatRows;
  readonly right: FloatRows;
  readonly v: FloatRows;
  readonly y: FloatRows;
}

/** One matrix. */
export class DeviceTrailing {
  readonly #client: DeviceClient;
  readonly #work: Workplace;
  readonly #matrix: Blocks;
  /** The next panel's columns, but for the update that is pending. */
  #panel: ArrayLike<number>;

  private constructor(client: DeviceClient, work: Workplace, matrix: Blocks, panel: Float32Array) {
    this.#client = client;
    this.#work = work;
    this.#matrix = matrix;
    this.#panel = panel;
  }

  /** Moves a matrix of floats from row `o` on to the device: zeros stay. */
  static async load(
    client: DeviceClient,
    work: Workplace,
    { matrix, o }: { readonly matrix: Blocks; readonly o: number },
  ): Promise<DeviceTrailing> {
    const { kernels, memory, layout } = work;
    const square = squareOf(memory, matrix, o);
    const half = kernels.bandWidth();
    const side = layout.order - o;
    const panel = new Float32Array(side * half);
    for (let row = 0; row < side; row++)
      panel.set(square.subarray(row * side, row * side + half), row * half);
    kernels.clear(matrix.at, layout.blocksDoubles / 2);
    await client.load(square);
    return new DeviceTrailing(client, work, matrix, panel);
  }

  /** Puts the columns of the panel that begins at row `o` into these rows. */
  putPanel(rows: FloatRows, o: number): void {
    floatsOf(this.#work, rows, o).set(this.#panel);
  }

  /** Adds the update of the panel before, if it is pending, and multiplies what begins at row `o` by V. */
  async step(o: number, { left, right, v, y }: StepRows, isPending: boolean): Promise<void> {
    const update = this.#update(o, { left, right }, isPending);
    const answer = await this.#client.step(update, floatsOf(this.#work, v, o).slice());
    floatsOf(this.#work, y, o).set(answer.y);
    this.#panel = answer.panel;
  }

  /** Brings back what is left, which begins at row `o`. */
  async finish(o: number, parts: Pick<StepRows, "left" | "right">, isPending: boolean): Promise<void> {
    const square = await this.#client.rest(this.#update(o, parts, isPending));
    const { memory, layout } = this.#work;
    const side = layout.order - o;
    for (const { row, first, place } of rowsFrom(this.#matrix, o)) {
      const from = (row - o) * side + first - o;
      const part = new Float32Array(memory, place.at + 4 * place.skipped, place.columns - place.skipped);
      part.set(square.subarray(from, from + part.length));
    }
  }

  #update(o: number, { left, right }: Pick<StepRows, "left" | "right">, isPending: boolean): PanelUpdate {
    const rows = this.#work.layout.order - o;
    const part = (of: FloatRows) =>
      isPending ? floatsOf(this.#work, of, o).slice() : new Float32Array(rows * of.columns);
    return { rows, left: part(left), right: part(right) };
  }
}

function floatsOf(
  { memory, layout }: Workplace,
  { at, columns }: FloatRows,
  o: number,
): Float32Array<ArrayBuffer> {
  return new Float32Array(memory, at + 4 * o * columns, (layout.order - o) * columns);
}

/** Both halves of what begins at row `o`. */
function squareOf(memory: ArrayBuffer, matrix: Blocks, o: number): Float32Array<ArrayBuffer> {
  const side = matrix.order - o;
  const square = new Float32Array(side * side);
  for (const { row, first, place } of rowsFrom(matrix, o)) {
    const part = new Float32Array(memory, place.at + 4 * place.skipped, place.columns - place.skipped);
    square.set(part, (row - o) * side + first - o);
  }
  for (let row = 0; row < side; row++)
    for (let column = row + 1; column < side; column++)
      square[row * side + column] = square[column * side + row] ?? 0;
  return square;
}

/** Rows of block columns from row and column `o` on: column `first` of the matrix is the first that counts. */
function* rowsFrom(matrix: Blocks, o: number) {
  const { order, width } = matrix;
  for (let index = Math.floor(o / width); index * width < order; index++) {
    const first = Math.max(o, index * width);
    for (let row = first; row < order; row++) {
      const { at, columns } = blockRows(matrix, index, row, 1);
      yield { row, first, place: { at, columns, skipped: first - index * width } };
    }
  }
}
