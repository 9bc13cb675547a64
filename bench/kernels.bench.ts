// The rate of each kernel of the wasm backend on one thread, by processor time, least of several repetitions; plain and
// relaxed build by turns. Which stage to work on next, and whether an engine compiles one badly.
//
//   npm run build && node dist/bench/kernels.bench.js [orders: 576 1024 2048 4096]
import { cpus } from "node:os";
import { DTYPE_NUMBER, instantiateKernels, type Kernels } from "../backends/wasm/kernels.ts";
import { KERNELS_BASE64, RELAXED_KERNELS_BASE64 } from "../backends/wasm/kernels.wasm.ts";
import { compileKernels } from "../backends/wasm/kernels-module.ts";
import { isDirect, reduceDirectly, reduceMeasured } from "../backends/wasm/singular-values/direct.ts";
import { DEPTH, layOut } from "../backends/wasm/singular-values/layout.ts";
import { panelSteps } from "../backends/wasm/singular-values/steps.ts";
import { ALONE } from "../backends/wasm/singular-values/team.ts";
import { UsageError } from "../src/errors.ts";
import { readOrExit } from "./part.ts";

const DEFAULT_ORDERS = [576, 1024, 2048, 4096];
/** Repetitions end once a kernel has run so long. */
const ENOUGH_MS = 300;
const ROW_BLOCKS = 4;

/** Milliseconds that each stage of one matrix took, by name. */
type Times = Map<string, number>;

/** Adds the processor time of `step` to `name`. */
function time(times: Times, name: string, step: () => void): void {
  const begun = process.cpuUsage();
  step();
  const { user, system } = process.cpuUsage(begun);
  times.set(name, (times.get(name) ?? 0) + (user + system) / 1000);
}

/** One matrix of `n` columns in a memory of its own. */
class Contender {
  readonly #kernels: Kernels;
  readonly #memory = new WebAssembly.Memory({ initial: 2, maximum: 65536 });
  readonly #n: number;
  readonly least: Times = new Map();

  constructor(base64: string, n: number) {
    this.#n = n;
    this.#kernels = instantiateKernels(new WebAssembly.Module(Buffer.from(base64, "base64")), this.#memory);
    this.#memory.grow(Math.ceil(this.#layout().sizeBytes / 65536));
  }

  #layout() {
    const shape = [Math.max(DEPTH, this.#n), this.#n] as const;
    return layOut({ shape, dtype: "BF16", rereadable: true }, this.#kernels);
  }

  /** Runs every kernel once. */
  run(): void {
    const times: Times = new Map();
    this.#gram(times);
    this.#eigenvalues(times);
    for (const [name, ms] of times) this.least.set(name, Math.min(ms, this.least.get(name) ?? Infinity));
  }

  #gram(times: Times): void {
    const k = this.#kernels;
    const n = this.#n;
    const { raw, packed, square, ld, order, signs, scratch, product, lengths } = this.#layout();
    const bytes = new Uint16Array(this.#memory.buffer, raw, n * DEPTH);
    for (let i = 0, x = 1; i < bytes.length; i++) {
      x = (Math.imul(1664525, x) + 1013904223) >>> 0;
      bytes[i] = ((x >>> 31) << 15) | (0x3f00 + ((x >>> 22) & 0xff)); // +-0.5 to 2, BF16
    }
    const blocks = Math.ceil(n / k.rowBlock());
    for (const floats of [false, true]) {
      k.clear(square, ld * order);
      for (let block = 0; block < ROW_BLOCKS; block++) {
        if (floats) {
          time(times, "pack floats", () => k.packRowsFloats(raw, DTYPE_NUMBER.BF16, n, DEPTH, 1, packed));
          time(times, "gram floats", () => {
            for (let i = 0; i < blocks; i++) k.gramAddFloats(packed, n, DEPTH, square, ld, i);
          });
          k.probeSigns(n, signs);
          time(times, "probe", () => k.probeAdd(packed, n, DEPTH, signs, scratch, product, lengths));
        } else {
          time(times, "pack", () => k.packRows(raw, DTYPE_NUMBER.BF16, n, DEPTH, 1, packed));
          time(times, "gram", () => {
            for (let i = 0; i < blocks; i++) k.gramAdd(packed, n, DEPTH, square, ld, i);
          });
        }
      }
    }
    if (isDirect(order)) this.#reduceDirectly(times);
    time(times, "mirror", () => k.gramMirror(square, n, ld));
  }

  /** Small orders, without a band. */
  #reduceDirectly(times: Times): void {
    const kernels = this.#kernels;
    const layout = this.#layout();
    const { square, ld, order, lower, lowerLd } = layout;
    const work = { kernels, memory: this.#memory.buffer, layout, checkInterrupted: () => {} };
    const copy = () => kernels.panelsToLower(square, ld, order, 2 ** -12, lower, lowerLd);
    copy();
    time(times, "direct", () => reduceDirectly(work));
    copy();
    time(times, "direct floats", () => reduceMeasured(work, { floats: true, exponent: 0 }));
  }

  #eigenvalues(times: Times): void {
    const k = this.#kernels;
    const n = this.#n;
    const layout = this.#layout();
    const { square, ld, order, band, bandDoubles, workspace, diagonal, beside } = layout;
    k.scale(square, ld * order, 2 ** -12);
    k.clear(band, bandDoubles);
    for (let j = 0; j < order; j += k.bandWidth()) {
      const steps = panelSteps(layout, j, k);
      time(times, "factor panel", () => {
        if (j > 0) ALONE.run(k, steps.updateColumns);
        k.factorPanel(square, ld, order, j, band, workspace);
      });
      if (j + k.bandWidth() === order) break;
      time(times, "stage one", () => {
        ALONE.run(k, steps.multiplyPanel);
        if (j > 0) ALONE.run(k, steps.addShares);
      });
      time(times, "form X", () => {
        ALONE.run(k, steps.projectPanel);
        k.smallMatrices(workspace);
        ALONE.run(k, steps.formRows);
      });
    }
    time(times, "bulges", () => {
      for (let s0 = 0; s0 < n - 1; s0 += k.sweepGroup()) k.chaseBulges(band, n, s0);
    });
    const doubles = new Float64Array(this.#memory.buffer, band, bandDoubles);
    const [d, e] = [diagonal, beside].map((at) => new Float64Array(this.#memory.buffer, at, n));
    for (let i = 0; i < n; i++) {
      d?.set([doubles[i * k.bandLd()] ?? 0], i);
      e?.set([doubles[i * k.bandLd() + 1] ?? 0], i);
    }
    time(times, "QL", () => {
      if (k.ql(n, diagonal, beside) < 0) throw new Error("QL did not converge");
    });
  }
}

/** Floating-point operations of a stage; null where the time says more. */
function flopsOf(name: string, n: number, b: number): number | null {
  switch (name) {
    case "gram":
    case "gram floats":
      return ROW_BLOCKS * DEPTH * n * n;
    case "factor panel": // with A -= V X^T + X V^T for the panel's own columns
      return 4 * b * n * n;
    case "direct":
    case "direct floats":
      return (4 / 3) * n ** 3;
    case "stage one": // A -= V X^T + X V^T for the other columns, and Y = A V
      return (4 / 3) * n ** 3 - 2 * b * n * n;
    case "form X":
      return 4 * b * n * n;
    case "bulges":
      return 6 * b * n * n;
    default:
      return null;
  }
}

/** The orders that the command line names. @throws UsageError for what is none. */
function ordersOf(words: readonly string[]): readonly number[] {
  const wrong = words.find((word) => !/^[1-9]\d*$/.test(word));
  if (wrong === undefined) return words.length > 0 ? words.map(Number) : DEFAULT_ORDERS;
  throw new UsageError(`Cannot measure the order "${wrong}": expected whole numbers from 1 up`);
}

compileKernels(); // lets old Node compile the relaxed build
const orders = readOrExit(() => ordersOf(process.argv.slice(2)));
const report = [];
for (const n of orders) {
  const contenders = {
    plain: new Contender(KERNELS_BASE64, n),
    relaxed: new Contender(RELAXED_KERNELS_BASE64, n),
  };
  const begun = performance.now();
  for (let turn = 0; turn < 3 || performance.now() - begun < 10 * ENOUGH_MS; turn++) {
    for (const contender of Object.values(contenders)) contender.run();
  }
  for (const name of contenders.plain.least.keys()) {
    const flops = flopsOf(name, n, 32);
    const [plain, relaxed] = Object.values(contenders).map(({ least }) => least.get(name) ?? NaN);
    const gflops = (ms = NaN) => (flops === null ? "" : (flops / ms / 1e6).toFixed(1));
    console.error(
      `${String(n).padStart(5)} ${name.padEnd(13)}${[plain, relaxed]
        .map((ms) => `${(ms ?? NaN).toFixed(2).padStart(10)} ms${gflops(ms).padStart(7)}`)
        .join("")}`,
    );
    report.push({ n, name, flops, plainMs: plain, relaxedMs: relaxed });
  }
}
console.log(JSON.stringify({ node: process.version, cpu: cpus()[0]?.model, report }));
