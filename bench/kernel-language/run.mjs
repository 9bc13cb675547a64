// Which language for the kernels? The float64 Gram product in C, as shipped, and in AssemblyScript, by turns, in one
// run: node bench/kernel-language/run.mjs (after npm run build). The AssemblyScript compiler is fetched from npm at a
// pinned version; the figures and what followed from them are in docs/decisions/0001-kernel-language.md.
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { KERNELS_BASE64 } from "../../dist/backends/wasm/kernels.wasm.js";

const COMPILER = "assemblyscript@0.28.20";
const SHAPES = [
  [1536, 576],
  [4096, 1024],
];
const DEPTH = 256;
const TURNS = 15;

function compileAssemblyScript() {
  const folder = mkdtempSync(join(tmpdir(), "kernel-language-"));
  try {
    copyFileSync(fileURLToPath(new URL("gram.as", import.meta.url)), join(folder, "gram.ts"));
    const options = "gram.ts -o gram.wasm -O3 --noAssert --runtime stub --importMemory --enable simd";
    const asc = spawnSync("npx", ["--yes", "-p", COMPILER, "asc", ...options.split(" ")], {
      cwd: folder,
      encoding: "utf8",
    });
    if (asc.status !== 0) throw new Error(`Cannot compile gram.as with ${COMPILER}:\n${asc.stderr}`);
    return readFileSync(join(folder, "gram.wasm"));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The Gram matrix of the same numbers in a memory of its own; `run` adds it up once and returns milliseconds. */
function prepare(bytes, [m, n]) {
  const memory = new WebAssembly.Memory({ initial: 2, maximum: 65536 });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } });
  const packed = 2 ** 20;
  const gram = packed + 8 * n * DEPTH;
  const ld = n + 8;
  memory.grow(Math.ceil((gram + 8 * n * ld) / 65536));
  const numbers = new Float64Array(memory.buffer, packed, n * DEPTH);
  for (let i = 0, x = 1; i < numbers.length; i++) {
    x = (Math.imul(1664525, x) + 1013904223) >>> 0;
    numbers[i] = x / 2 ** 31 - 1;
  }
  const result = new Float64Array(memory.buffer, gram, n * ld);
  return {
    result,
    run() {
      result.fill(0);
      const begun = performance.now();
      for (let k0 = 0; k0 < m; k0 += DEPTH) exports.gramAdd(packed, n, Math.min(DEPTH, m - k0), gram, ld);
      return performance.now() - begun;
    },
  };
}

const modules = { C: Buffer.from(KERNELS_BASE64, "base64"), AssemblyScript: compileAssemblyScript() };
const { bun, deno, node } = process.versions;
const engine = bun ? `Bun ${bun}` : deno ? `Deno ${deno}` : `Node ${node}`;
const report = { engine, cpu: cpus()[0]?.model, gflops: {} };
for (const shape of SHAPES) {
  const flops = shape[0] * shape[1] ** 2; // the lower triangle: half of 2 m n^2
  const contenders = Object.entries(modules).map(([language, bytes]) => ({
    language,
    times: [],
    ...prepare(bytes, shape),
  }));
  for (let turn = -2; turn < TURNS; turn++) {
    for (const { run, times } of contenders) {
      const ms = run();
      if (turn >= 0) times.push(ms);
    }
  }
  const [first, second] = contenders;
  if (!first.result.every((value, i) => value === second.result[i]))
    throw new Error("The two languages disagree");
  for (const { language, times } of contenders) {
    times.sort((a, b) => a - b);
    const [best, median] = [times[0], times[TURNS >> 1]].map((ms) => Number((flops / ms / 1e6).toFixed(1)));
    console.error(`${shape.join(" x ")} ${language}: best ${best}, median ${median} GFLOP/s`);
    report.gflops[`${shape.join("x")} ${language}`] = { best, median };
  }
}
console.log(JSON.stringify(report));
