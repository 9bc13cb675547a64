// Products of matrices that lie in a WebAssembly memory, by ONNX Runtime: a graph of one Gemm for each form, whose result
// is written where the sum was.
import { InferenceSession, Tensor } from "onnxruntime-node";
import { Graph } from "../../../src/onnx/graph.ts";
import { modelFile } from "../../../src/onnx/model-file.ts";
import { gemm } from "../../../src/onnx/operators/matrices.ts";
import { total } from "../../../src/onnx/operators/reductions.ts";
import type { ProviderName } from "../providers.ts";

/** A row-major matrix at a byte address, of the element type of the products that take it. */
export interface Place {
  readonly at: number;
  readonly rows: number;
  readonly columns: number;
}

/** A product that is added to something: A B, A^T B or A B^T. */
export type Form = "nn" | "tn" | "nt";

/** What a product reads, and where it goes. */
export interface Operands {
  readonly a: Place;
  readonly b: Place;
  readonly c: Place;
}

/** The products, ready to be called. Owns sessions of ONNX Runtime until released. */
export interface Products {
  /** c += a b, where `form` says which of the two is transposed. All lie in `memory`; c overlaps neither. */
  add(form: Form, memory: ArrayBuffer, operands: Operands): Promise<void>;
  release(): Promise<void>;
}

/** Products of matrices that are floats in memory, their sums as well. */
export interface FloatProducts extends Products {
  /** c = a b^T */
  multiply(memory: ArrayBuffer, operands: Operands): Promise<void>;
}

/**
 * Side of a square of doubles that is allocated and freed at the start, 30 MB. Beside the result that it writes in place
 * the runtime returns a copy; glibc gives blocks of that size back to the kernel at once, and every page of the next one
 * has to be zeroed by it, until a block as large as this has been freed: then it keeps twice as much. A 2048 x 2048
 * matrix takes 0.84 s of processor time with this and 1.0 s without.
 */
const FREED_SIDE = 1960;

/** What is multiplied. */
export type ElementType = "float32" | "float64";

/** A session for each form. */
export type Forms = Readonly<Record<Form, InferenceSession>>;

/** The products of one thread. */
export interface ThreadProducts {
  /** Of doubles. */
  readonly products: Products;
  /** For `fast`. */
  readonly floatProducts: FloatProducts | null;
  release(): Promise<void>;
}

/** Opens what a thread needs that computes singular values, with products of floats or without. */
export async function openThreadProducts({ floats }: { readonly floats: boolean }): Promise<ThreadProducts> {
  await allocateOnce();
  const forms = await openForms({ type: "float64", adds: true });
  const inPlace = await writesInPlace(forms.nn);
  const products = productsOf(forms, { type: "float64", inPlace });
  const floatProducts = floats ? await openFloatProducts(inPlace) : null;
  return {
    products,
    floatProducts,
    async release() {
      await products.release();
      await floatProducts?.release();
    },
  };
}

/** Loads the graphs for products of floats on the CPU; `inPlace` as products of doubles have it. */
async function openFloatProducts(inPlace: boolean): Promise<FloatProducts> {
  const type = "float32";
  const forms = await openForms({ type, adds: true });
  const product = await openForm("nt", { type, adds: false });
  return {
    ...productsOf(forms, { type, inPlace }),
    multiply: (memory, operands) => runInto(product, { memory, type, inPlace, operands }),
    async release() {
      await releaseAll(forms);
      await product.release();
    },
  };
}

/** Which graphs: in what they compute, and whether there is a sum that they add to. */
export interface FormOptions {
  readonly type: ElementType;
  readonly adds: boolean;
}

/** Loads the graphs. */
export async function openForms(options: FormOptions): Promise<Forms> {
  const open = (form: Form) => openForm(form, options);
  return { nn: await open("nn"), tn: await open("tn"), nt: await open("nt") };
}

/** How products by given graphs compute. */
export interface ProductsOptions {
  readonly type: ElementType;
  /** Whether the runtime writes results where it is told to; else they are copied there. */
  readonly inPlace: boolean;
}

/** Products by these graphs, of matrices that have their element type in memory. */
export function productsOf(forms: Forms, { type, inPlace }: ProductsOptions): Products {
  return {
    add: (form, memory, operands) => runInto(forms[form], { memory, type, inPlace, operands }),
    release: () => releaseAll(forms),
  };
}

/** One product; what it is added to, if anything, lies where the result goes. */
async function runInto(
  session: InferenceSession,
  { memory, type, inPlace, operands }: ProductsOptions & { memory: ArrayBuffer; operands: Operands },
): Promise<void> {
  const at = (place: Place) => tensorAt(memory, type, place);
  const c = at(operands.c);
  const both = { a: at(operands.a), b: at(operands.b) };
  const feeds = session.inputNames.length === 3 ? { ...both, c } : both;
  if (inPlace) {
    await session.run(feeds, { y: c });
    return;
  }
  const { y } = await session.run(feeds);
  if (type === "float32" && y?.data instanceof Float32Array) floatsAt(memory, operands.c).set(y.data);
  else if (type === "float64" && y?.data instanceof Float64Array) doublesAt(memory, operands.c).set(y.data);
  else throw new TypeError(`Expected a ${type} product, got ${y?.type}`);
}

async function releaseAll(forms: Forms): Promise<void> {
  for (const session of Object.values(forms)) await session.release();
}

async function allocateOnce(): Promise<void> {
  const g = new Graph();
  const column = g.input("column", "float64", ["m", "k"]);
  const row = g.input("row", "float64", ["k", "n"]);
  g.output("sum", total(g, gemm(g, [column, row])));
  const session = await openGraph(g, { name: "allocate" });
  const ones = new Float64Array(FREED_SIDE).fill(1);
  await session.run({
    column: new Tensor("float64", ones, [FREED_SIDE, 1]),
    row: new Tensor("float64", ones, [1, FREED_SIDE]),
  });
  await session.release();
}

function openForm(form: Form, { type, adds }: FormOptions): Promise<InferenceSession> {
  const g = new Graph();
  const transposeA = form === "tn";
  const transposeB = form === "nt";
  const a = g.input("a", type, transposeA ? ["k", "m"] : ["m", "k"]);
  const b = g.input("b", type, transposeB ? ["n", "k"] : ["k", "n"]);
  const plus = adds ? g.input("c", type, ["m", "n"]) : null;
  g.output("y", gemm(g, [a, b], { transposeA, transposeB, plus }));
  return openGraph(g, { name: form });
}

/** How a graph is loaded. */
export interface OpenGraphOptions {
  readonly name: string;
  /** Default: the CPU, with one thread. */
  readonly provider?: ProviderName;
  /** Results that stay on the device, by name; default: none. */
  readonly locations?: Readonly<Record<string, "gpu-buffer">>;
}

/** Loads a graph. A device computes all of it, or says that it cannot. */
export function openGraph(
  g: Graph,
  { name, provider = "cpu", locations = {} }: OpenGraphOptions,
): Promise<InferenceSession> {
  const file = modelFile(g, { name, producer: { name: "spectrum-tune", version: "" } });
  return InferenceSession.create(file, {
    executionProviders: [provider],
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    enableMemPattern: false,
    enableCpuMemArena: false,
    logSeverityLevel: 4,
    preferredOutputLocation: locations,
    extra: { session: { disable_cpu_ep_fallback: provider === "cpu" ? "0" : "1" } },
  });
}

/** Whether a result that is asked for in the place of the sum it is added to arrives there, and is right. */
async function writesInPlace(session: InferenceSession): Promise<boolean> {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 }).buffer;
  const doubles = new Float64Array(memory, 0, 15);
  doubles.set([1, 2, 3, 4, 5, 6, 1, 0, 0, 1, 1, 1, 10, 20, 30]);
  const sum = tensorAt(memory, "float64", { at: 96, rows: 3, columns: 1 });
  const feeds = {
    a: tensorAt(memory, "float64", { at: 0, rows: 3, columns: 2 }),
    b: tensorAt(memory, "float64", { at: 48, rows: 2, columns: 1 }),
    c: sum,
  };
  await session.run(feeds, { y: sum });
  return doubles[12] === 11 && doubles[13] === 23 && doubles[14] === 35;
}

function doublesAt(memory: ArrayBuffer, { at, rows, columns }: Place): Float64Array<ArrayBuffer> {
  return new Float64Array(memory, at, rows * columns);
}

function floatsAt(memory: ArrayBuffer, { at, rows, columns }: Place): Float32Array<ArrayBuffer> {
  return new Float32Array(memory, at, rows * columns);
}

function tensorAt(memory: ArrayBuffer, type: ElementType, place: Place): Tensor {
  const dims = [place.rows, place.columns];
  return type === "float32"
    ? new Tensor(type, floatsAt(memory, place), dims)
    : new Tensor(type, doublesAt(memory, place), dims);
}
