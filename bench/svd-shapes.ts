// The matrices of the singular value benchmark: shapes of known models, and the goals that hold for some of them.
import { UsageError } from "../src/errors.ts";

/** A shape to measure. */
export interface BenchShape {
  /** rows x columns, as `--shape` takes it. */
  readonly label: string;
  readonly rows: number;
  readonly columns: number;
  /** A model that has weights of this shape; empty where none of the table has. */
  readonly model: string;
}

/** In ascending order of cost. */
export const SHAPES: readonly BenchShape[] = [
  shapeOf("SmolLM-135M", 192, 576),
  shapeOf("SmolLM-135M", 576, 576),
  shapeOf("SmolLM-135M", 1536, 576),
  shapeOf("Llama-3.2-1B", 2048, 2048),
  shapeOf("Llama-3-8B", 1024, 4096),
  shapeOf("Llama-3-8B", 4096, 4096),
  shapeOf("Llama-3-8B", 14336, 4096),
  shapeOf("Qwen2.5-72B", 8192, 1024),
  shapeOf("Qwen2.5-72B", 8192, 8192),
  shapeOf("Qwen2.5-72B", 29568, 8192),
].toSorted((a, b) => operations(a) - operations(b));

/** What `--quick` measures. */
export const QUICK_SHAPES: readonly string[] = ["192x576", "576x576", "1536x576"];

/** Of the faster of torch and scipy in float32, throughput, precision fast; times as fast. */
export interface Goal {
  readonly shape: string;
  readonly backend: string;
  readonly timesFaster: number;
}

/** Of WebAssembly alone, and of ONNX Runtime's products with it. */
export const GOALS: readonly Goal[] = [
  ...goalsOf("576x576", 1.2, 1.5),
  ...goalsOf("1536x576", 1.7, 2.2),
  ...goalsOf("2048x2048", 1.1, 1.7),
  ...goalsOf("4096x4096", 1.6, 3.3),
  ...goalsOf("14336x4096", 1.3, 1.9),
];

function shapeOf(model: string, rows: number, columns: number): BenchShape {
  return { label: `${rows}x${columns}`, rows, columns, model };
}

function goalsOf(shape: string, wasm: number, hybrid: number): Goal[] {
  return [
    { shape, backend: "wasm", timesFaster: wasm },
    { shape, backend: "onnxruntime-cpu", timesFaster: hybrid },
  ];
}

/** Floating-point operations, about: the Gram matrix of the smaller side and its tridiagonal form. */
export function operations({ rows, columns }: BenchShape): number {
  const small = Math.min(rows, columns);
  return rows * columns * small + (4 / 3) * small ** 3;
}

/**
 * Those that the words of `--shape` name, in ascending order of cost: ROWSxCOLUMNS, or a model of the table.
 *
 * @throws UsageError when a word is neither.
 */
export function chooseShapes(words: readonly string[]): readonly BenchShape[] {
  if (words.length === 0) return SHAPES;
  const chosen = new Map(words.flatMap(shapesOf).map((shape) => [shape.label, shape]));
  return [...chosen.values()].toSorted((a, b) => operations(a) - operations(b));
}

function shapesOf(word: string): readonly BenchShape[] {
  const known = SHAPES.filter(
    ({ label, model }) => label === word || model.toLowerCase() === word.toLowerCase(),
  );
  if (known.length > 0) return known;
  const [, rows, columns] = /^([1-9]\d*)x([1-9]\d*)$/.exec(word) ?? [];
  if (rows !== undefined && columns !== undefined) return [shapeOf("", Number(rows), Number(columns))];
  const models = [...new Set(SHAPES.map(({ model }) => model))].join(", ");
  throw new UsageError(`Cannot measure the shape "${word}": expected ROWSxCOLUMNS, or one of ${models}`);
}
