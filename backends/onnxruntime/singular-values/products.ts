// Products of matrices that lie in a WebAssembly memory, by ONNX Runtime: a graph of one Gemm for each form, whose result
// is written where the sum was.
import { InferenceSession, Tensor } from "onnxruntime-node";
import { Graph } from "../../../src/onnx/graph.ts";
import { modelFile } from "../../../src/onnx/model-file.ts";
import { gemm } from "../../../src/onnx/operators/matrices.ts";
import { total } from "../../../src/onnx/operators/reductions.ts";
import { PROVIDERS, type ProviderName } from "../providers.ts";

/** A row-major matrix of doubles at a byte address. */
export interface Place {
  readonly at: number;
  readonly rows: number;
  readonly columns: number;
}

/** A product that is added to something: A B, A^T B or A B^T. */
export type Form = "nn" | "tn" | "nt";

/** The products, ready to be called. Owns sessions of ONNX Runtime until released. */
export interface Products {
  /** Whether they are products of floats: elements rounded to floats, what is added to c a sum of floats. */
  readonly floats: boolean;
  /** c += a b, where `form` says which of the two is transposed. All lie in `memory`; c overlaps neither. */
  add(
    form: Form,
    memory: ArrayBuffer,
    operands: { readonly a: Place; readonly b: Place; readonly c: Place },
  ): Promise<void>;
  release(): Promise<void>;
}

/**
 * Side of a square of doubles that is allocated and freed at the start, 30 MB. Beside the result that it writes in place
 * the runtime returns a copy; glibc gives blocks of that size back to the kernel at once, and every page of the next one
 * has to be zeroed by it, until a block as large as this has been freed: then it keeps twice as much. A 2048 x 2048
 * matrix takes 0.84 s of processor time with this and 1.0 s without.
 */
const FREED_SIDE = 1960;

/** A session for each form. */
export type Forms = Readonly<Record<Form, InferenceSession>>;

/** Loads the graphs, for one thread where they run on the CPU, and looks whether the runtime writes in place. */
export async function openProducts(provider: ProviderName): Promise<Products> {
  const forms = await openForms(provider);
  if (!PROVIDERS[provider].float64) return floatProductsOf(forms);
  await allocateOnce();
  return productsOf(forms, await writesInPlace(forms.nn));
}

/** Loads the graphs. */
export async function openForms(provider: ProviderName): Promise<Forms> {
  const open = (form: Form) => openForm(form, provider);
  return { nn: await open("nn"), tn: await open("tn"), nt: await open("nt") };
}

/** Products by these graphs; where results are not written in place they are copied there. */
export function productsOf(forms: Forms, inPlace: boolean): Products {
  return {
    floats: false,
    async add(form, memory, { a, b, c }) {
      const sum = tensorAt(memory, c);
      const feeds = { a: tensorAt(memory, a), b: tensorAt(memory, b), c: sum };
      if (inPlace) {
        await forms[form].run(feeds, { y: sum });
        return;
      }
      const { y } = await forms[form].run(feeds);
      if (!(y?.data instanceof Float64Array))
        throw new TypeError(`Expected a float64 product, got ${y?.type}`);
      doublesAt(memory, c).set(y.data);
    },
    release: () => releaseAll(forms),
  };
}

/** Products of floats by these graphs, added up in doubles here. */
function floatProductsOf(forms: Forms): Products {
  const floatsAt = (memory: ArrayBuffer, place: Place) =>
    new Tensor("float32", new Float32Array(doublesAt(memory, place)), [place.rows, place.columns]);
  return {
    floats: true,
    async add(form, memory, { a, b, c }) {
      const { y } = await forms[form].run({ a: floatsAt(memory, a), b: floatsAt(memory, b) });
      if (!(y?.data instanceof Float32Array))
        throw new TypeError(`Expected a float32 product, got ${y?.type}`);
      const sum = doublesAt(memory, c);
      for (const [i, x] of y.data.entries()) sum[i] = (sum[i] ?? 0) + x;
    },
    release: () => releaseAll(forms),
  };
}

async function releaseAll(forms: Forms): Promise<void> {
  for (const session of Object.values(forms)) await session.release();
}

async function allocateOnce(): Promise<void> {
  const g = new Graph();
  const column = g.input("column", "float64", ["m", "k"]);
  const row = g.input("row", "float64", ["k", "n"]);
  g.output("sum", total(g, gemm(g, [column, row])));
  const session = await open("allocate", g, "cpu");
  const ones = new Float64Array(FREED_SIDE).fill(1);
  await session.run({
    column: new Tensor("float64", ones, [FREED_SIDE, 1]),
    row: new Tensor("float64", ones, [1, FREED_SIDE]),
  });
  await session.release();
}

function openForm(form: Form, provider: ProviderName): Promise<InferenceSession> {
  const g = new Graph();
  const { float64 } = PROVIDERS[provider];
  const type = float64 ? "float64" : "float32";
  const transposeA = form === "tn";
  const transposeB = form === "nt";
  const a = g.input("a", type, transposeA ? ["k", "m"] : ["m", "k"]);
  const b = g.input("b", type, transposeB ? ["n", "k"] : ["k", "n"]);
  const plus = float64 ? g.input("c", type, ["m", "n"]) : null;
  g.output("y", gemm(g, [a, b], { transposeA, transposeB, plus }));
  return open(form, g, provider);
}

function open(name: string, g: Graph, provider: ProviderName): Promise<InferenceSession> {
  const file = modelFile(g, { name, producer: { name: "spectrum-tune", version: "" } });
  return InferenceSession.create(file, {
    executionProviders: [provider],
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    enableMemPattern: false,
    enableCpuMemArena: false,
    logSeverityLevel: 4,
    // A device computes all of it, or says that it cannot.
    extra: { session: { disable_cpu_ep_fallback: provider === "cpu" ? "0" : "1" } },
  });
}

/** Whether a result that is asked for in the place of the sum it is added to arrives there, and is right. */
async function writesInPlace(session: InferenceSession): Promise<boolean> {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 }).buffer;
  const doubles = new Float64Array(memory, 0, 15);
  doubles.set([1, 2, 3, 4, 5, 6, 1, 0, 0, 1, 1, 1, 10, 20, 30]);
  const sum = tensorAt(memory, { at: 96, rows: 3, columns: 1 });
  const feeds = {
    a: tensorAt(memory, { at: 0, rows: 3, columns: 2 }),
    b: tensorAt(memory, { at: 48, rows: 2, columns: 1 }),
    c: sum,
  };
  await session.run(feeds, { y: sum });
  return doubles[12] === 11 && doubles[13] === 23 && doubles[14] === 35;
}

function doublesAt(memory: ArrayBuffer, { at, rows, columns }: Place): Float64Array<ArrayBuffer> {
  return new Float64Array(memory, at, rows * columns);
}

function tensorAt(memory: ArrayBuffer, place: Place): Tensor {
  return new Tensor("float64", doublesAt(memory, place), [place.rows, place.columns]);
}
