// One matrix on several threads: the bits of one thread, and what happens when a thread goes away.
import { once } from "node:events";
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import { afterEach, describe, expect, it, vi } from "vitest";
import { CREW_BYTES, CrewControl, MAX_HELPERS } from "../../backends/wasm/crew/control.ts";
import { sharedFlops } from "../../backends/wasm/crew/cost-model.ts";
import { Crew } from "../../backends/wasm/crew/crew.ts";
import { Crews } from "../../backends/wasm/crew/crews.ts";
import type { Call } from "../../backends/wasm/crew/helper.ts";
import * as wasm from "../../backends/wasm/index.ts";
import { KERNELS_BASE64, RELAXED_KERNELS_BASE64 } from "../../backends/wasm/kernels.wasm.ts";
import { compileKernels, kernelBytes } from "../../backends/wasm/kernels-module.ts";
import { Solver } from "../../backends/wasm/singular-values/solver.ts";
import type { Precision } from "../../src/backend.ts";
import { MatrixError } from "../../src/errors.ts";
import type { MatrixDType } from "../../src/tensor/dtype.ts";
import { singularValues } from "./conformance.ts";
import { drawMatrix, encode, type Matrix, matrixOfSpectrum, type Shape, sourceOf } from "./matrices.ts";

const THREAD = new URL("./crew-thread.mjs", import.meta.url);
const threads: Worker[] = [];
afterEach(() => Promise.all(threads.splice(0).map((thread) => thread.terminate())));

function startThread(workerData: object, ports: MessagePort[] = []): Worker {
  const thread = new Worker(THREAD, { workerData, transferList: ports });
  threads.push(thread);
  return thread;
}

/** Values by a solver that is given all bytes twice where it asks for it. */
function solve(solver: Solver, shape: Shape, dtype: MatrixDType, bytes: Uint8Array): Float64Array {
  solver.begin({ shape, dtype, rereadable: true });
  for (;;) {
    solver.append(bytes);
    const values = solver.finish();
    if (values !== null) return values;
  }
}

/** A matrix whose Gram matrix of float products is too coarse, and whose Gram matrix of doubles is not. */
function coarse(shape: Shape): Matrix {
  const noise = drawMatrix(shape, "F32", 7).elements;
  return { shape, elements: noise.map((x) => Math.fround(4 + x / 8)) };
}

/** A solver on this thread with so many helpers, all of them there. */
async function openCrew(build: string, precision: Precision, helpers: number) {
  const control = new SharedArrayBuffer(CREW_BYTES);
  const words = new CrewControl(control);
  const { port1: invitations, port2 } = new MessageChannel();
  const restarts: boolean[] = [];
  const onRestart = () => restarts.push(words.floats);
  const crew = new Crew({ control, invitations: port2, helpers }, { interrupted: () => false, onRestart });
  const solver = new Solver(new WebAssembly.Module(kernelBytes(build, true)), precision, () => false, crew);
  for (let seat = 1; seat <= helpers; seat++) {
    const { port1, port2: port } = new MessageChannel();
    const call: Call = { control, seat, port };
    startThread({ build, call }, [port]);
    invitations.postMessage({ port: port1 }, [port1]);
  }
  const small = encode(drawMatrix([4, 4], "F32", 1), "F32");
  await expect
    .poll(
      () => {
        solve(solver, [4, 4], "F32", small); // a step, which takes the invitations
        return words.present;
      },
      { timeout: 20_000 },
    )
    .toBe(helpers);
  return { solver, words, restarts };
}

describe("one matrix on several threads", () => {
  const builds = { plain: KERNELS_BASE64, relaxed: RELAXED_KERNELS_BASE64 };
  const matrices = [
    { shape: [1, 1], dtype: "F32" },
    { shape: [130, 129], dtype: "BF16" },
    { shape: [700, 513], dtype: "F16" },
    { shape: [250, 900], dtype: "F64" },
    { shape: [800, 800], dtype: "BF16" }, // four shares
    { shape: [900, 771], dtype: "F32" },
  ] as const;

  for (const [name, build] of Object.entries(builds)) {
    for (const precision of ["exact", "fast"] as const) {
      it(`gives the bits of one thread with 1, 2 and 3 helpers: ${name} build, ${precision}`, async () => {
        compileKernels(); // lets old Node compile the relaxed build
        const alone = new Solver(new WebAssembly.Module(kernelBytes(build, false)), precision, () => false);
        const cases = matrices.map(({ shape, dtype }, seed) => {
          const bytes = encode(drawMatrix(shape, dtype, seed), dtype);
          return { shape, dtype, bytes, expected: solve(alone, shape, dtype, bytes) };
        });
        for (const helpers of [1, 2, 3]) {
          const { solver } = await openCrew(build, precision, helpers);
          for (const { shape, dtype, bytes, expected } of cases) {
            const actual = solve(solver, shape, dtype, bytes);
            expect(actual, `${shape.join(" x ")} ${dtype}, ${helpers} helpers`).toEqual(expected);
          }
          await Promise.all(threads.splice(0).map((thread) => thread.terminate()));
        }
      });
    }
  }

  it("gives the bits of one thread where the triangular factor is needed", async () => {
    const values = Array.from({ length: 160 }, (_, i) => (i < 80 ? 1 + (80 - i) / 8 : 0));
    const bytes = encode(matrixOfSpectrum([200, 160], values, 5), "F64");
    const alone = new Solver(compileKernels().module, "exact", () => false);
    const { solver } = await openCrew(KERNELS_BASE64, "exact", 2);
    const plain = new Solver(
      new WebAssembly.Module(kernelBytes(KERNELS_BASE64, false)),
      "exact",
      () => false,
    );
    const actual = solve(solver, [200, 160], "F64", bytes);
    expect(actual).toEqual(solve(plain, [200, 160], "F64", bytes));
    expect(actual[0]).toBeCloseTo(solve(alone, [200, 160], "F64", bytes)[0] ?? NaN, 12);
  });

  it("counts what is done anew where float products are refused, and tells", async () => {
    const shape = [400, 300] as const;
    compileKernels(); // lets old Node compile the relaxed build
    const { solver, words, restarts } = await openCrew(RELAXED_KERNELS_BASE64, "fast", 0);
    solve(solver, shape, "F32", encode(drawMatrix(shape, "F32", 6), "F32"));
    expect([restarts, words.floats]).toEqual([[], true]);
    const once = words.doneMflops;
    solve(solver, shape, "F32", encode(coarse(shape), "F32"));
    expect(restarts).toEqual([false]);
    const more = sharedFlops({ shape, floats: false }) - sharedFlops({ shape, floats: true });
    expect(Math.abs(words.doneMflops - once - more / 1e6)).toBeLessThanOrEqual(1);
    solver.begin({ shape, dtype: "F32", rereadable: true });
    expect([words.doneMflops, words.floats]).toEqual([0, true]);
  });

  it("gives the same bits to a queue of matrices on 1, 2, 3 and 4 threads", async () => {
    const matrices = [900, 60, 1000, 800, 1100].map((m, seed) => drawMatrix([m, 800], "BF16", seed));
    const answers: Float64Array[][] = [];
    for (const count of [1, 2, 3, 4]) {
      const backend = await wasm.open({ precision: "exact", threads: count });
      const call = (matrix: Matrix) => singularValues(backend, sourceOf(matrix, "BF16"));
      answers.push(await Promise.all(matrices.map(call)));
      await backend.close();
    }
    for (const answer of answers) expect(answer).toEqual(answers[0]);
  });
});

describe("CrewControl", () => {
  const HELPERS = 3;
  /** Helpers that count their chunks: counts[first + chunk] each chunk, counts[own + seat] each helper's. */
  async function startCounters(chunks: number) {
    const control = new SharedArrayBuffer(CREW_BYTES);
    const counts = new SharedArrayBuffer(4 * (1 + chunks + HELPERS + 1));
    const words = new CrewControl(control);
    for (let seat = 1; seat <= HELPERS; seat++) startThread({ control, seat, counts });
    await expect.poll(() => words.present, { timeout: 20_000 }).toBe(HELPERS);
    const step = { name: "gram", chunks, args: [1, chunks + 1, 0, 0, 0] } as const;
    return { words, counts: new Int32Array(counts), step };
  }

  it("has each chunk of each of 3,000 steps done once, and by helpers too, before the step ends", async () => {
    const { words, counts, step } = await startCounters(40);
    for (let round = 1; round <= 3000; round++) {
      words.share(
        step,
        (chunk) => Atomics.add(counts, 1 + chunk, 1),
        () => {},
      );
      const done = counts.slice(1, 41);
      if (done.some((times) => times !== round)) expect(done).toEqual(new Int32Array(40).fill(round));
    }
    expect(counts.slice(41).some((taken) => taken > 0)).toBe(true);
  });

  it("sends helpers away one at a time, and goes on without them", async () => {
    const { words, counts, step } = await startCounters(10);
    const exits = threads.map((thread) => once(thread, "exit"));
    for (let seat = 1; seat <= HELPERS; seat++) {
      words.dismiss(seat);
      await exits[seat - 1];
      expect(words.present).toBe(HELPERS - seat);
      words.share(
        step,
        (chunk) => Atomics.add(counts, 1 + chunk, 1),
        () => {},
      );
      expect(counts.slice(1, 11)).toEqual(new Int32Array(10).fill(seat));
    }
  });

  it("does not end a step at one of whose chunks a helper has died, until it is told to", async () => {
    const chunks = 30;
    const { words, counts, step } = await startCounters(chunks);
    counts[0] = 1;
    const take = () => {
      const begun = performance.now();
      while (performance.now() - begun < 2) {} // leaves chunks for the helpers
    };
    let checks = 0;
    const check = () => {
      if (++checks > chunks + 3) throw new Error("The pool has closed this thread");
    };
    expect(() => words.share(step, take, check)).toThrow("The pool has closed this thread");
  });

  it("sends all helpers away when it is abandoned", async () => {
    const { words } = await startCounters(1);
    const exits = threads.map((thread) => once(thread, "exit"));
    words.abandon();
    await Promise.all(exits);
    expect(words.present).toBe(0);
    expect(HELPERS).toBeLessThan(MAX_HELPERS);
  });
});

/** Rows that never come. */
async function* never(): AsyncGenerator<Uint8Array> {
  await new Promise(() => {});
}

describe("the wasm backend with a lone matrix", () => {
  const n = 1500;
  const bytes = encode(drawMatrix([n, n], "BF16", 10), "BF16");
  const large = { shape: [n, n], dtype: "BF16", rows: [bytes], rereadable: true } as const;

  /** An open backend, and the threads that it has started. */
  async function openWatched(count: number) {
    const started: Worker[] = [];
    const remember = (worker: Worker) => started.push(worker);
    process.on("worker", remember);
    const backend = await wasm.open({ precision: "exact", threads: count });
    return {
      backend,
      started,
      async close() {
        process.off("worker", remember);
        await backend.close();
      },
    };
  }

  /** Waits until a second thread is there and had time to begin. */
  async function untilHelped({ started }: Awaited<ReturnType<typeof openWatched>>): Promise<void> {
    await expect.poll(() => started.length).toBe(2);
    await new Promise((resolve) => setTimeout(resolve, 150));
  }

  it("starts a second thread for it, and gives the same bits again and again", async () => {
    const watched = await openWatched(2);
    const first = await singularValues(watched.backend, large);
    expect(await singularValues(watched.backend, large)).toEqual(first);
    expect(watched.started.length).toBe(2);
    await watched.close();
  });

  it("starts none for a small one", async () => {
    const watched = await openWatched(2);
    await singularValues(watched.backend, sourceOf(drawMatrix([200, 200], "F32", 3), "F32"));
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(watched.started.length).toBe(1);
    await watched.close();
  });

  it("calls the helper back for the next matrix, which does not wait for the large one", async () => {
    const watched = await openWatched(2);
    const ended: string[] = [];
    const slow = singularValues(watched.backend, large).then(() => ended.push("large"));
    await untilHelped(watched);
    const small = sourceOf(drawMatrix([60, 60], "F32", 4), "F32");
    const quick = singularValues(watched.backend, small).then(() => ended.push("small"));
    await Promise.all([slow, quick]);
    expect(ended).toEqual(["small", "large"]);
    await watched.close();
  });

  it.each(["helper", "first thread"])(
    "rejects the call when its %s dies, and computes the next one",
    async (who) => {
      const watched = await openWatched(2);
      const call = singularValues(watched.backend, large);
      const rejected = expect(call).rejects.toThrow(/A worker of the wasm backend stopped/);
      await untilHelped(watched);
      await watched.started[who === "helper" ? 1 : 0]?.terminate();
      await rejected;
      expect((await singularValues(watched.backend, large)).length).toBe(n);
      await watched.close();
    },
  );

  it("has ended every thread when it is closed after a helper died, and every call was rejected", async () => {
    const watched = await openWatched(3);
    let exits = 0;
    const held = singularValues(watched.backend, { shape: [4, 4], dtype: "F32", rows: never() });
    const helped = singularValues(watched.backend, large);
    const reasons = Promise.all(
      [held, helped].map((call) =>
        call.then(
          () => "",
          (error) => error.message,
        ),
      ),
    );
    await expect.poll(() => watched.started.length).toBe(3);
    await new Promise((resolve) => setTimeout(resolve, 150));
    for (const thread of watched.started) thread.once("exit", () => exits++);
    void watched.started[2]?.terminate();
    await helped.catch(() => {});
    await watched.close();
    expect(exits).toBe(3);
    expect(await reasons).toEqual([
      "The wasm backend was closed",
      expect.stringMatching(
        /^A worker of the wasm backend stopped before its matrix was done, with code \d$/,
      ),
    ]);
  });

  it("sends a thread that is free to a matrix whose float products were refused", async () => {
    const send = vi.spyOn(Crews.prototype, "send");
    const backend = await wasm.open({ precision: "fast", threads: 2 });
    const shape = [6000, 600] as const;
    const bytes = encode(coarse(shape), "F32");
    let looks = 0;
    let endOther = () => {};
    const ended = new Promise<void>((resolve) => {
      endOther = resolve;
    });
    const rows = {
      async *[Symbol.asyncIterator]() {
        looks++;
        yield bytes.subarray(0, -2400);
        if (looks === 1) {
          endOther(); // the other thread is free once there is nothing left here
          await other;
        }
        await new Promise((resolve) => setTimeout(resolve, 100));
        yield bytes.subarray(-2400);
      },
    };
    async function* idle() {
      await ended;
      yield new Uint8Array(4);
    }
    const other = singularValues(backend, { shape: [1, 1], dtype: "F32", rows: idle() });
    await singularValues(backend, { shape, dtype: "F32", rows, rereadable: true });
    expect([looks, send.mock.calls.length]).toEqual([2, 1]);
    await backend.close();
  });

  it("ends at once when closed", async () => {
    const watched = await openWatched(3);
    const call = singularValues(watched.backend, large);
    const rejected = expect(call).rejects.toThrow("The wasm backend was closed");
    await expect.poll(() => watched.started.length).toBe(3);
    await new Promise((resolve) => setTimeout(resolve, 100));
    const begun = performance.now();
    await watched.close();
    await rejected;
    expect(performance.now() - begun).toBeLessThan(1500);
  });

  it("refuses NaN, gives up rows that fail, and goes on with the next matrix", async () => {
    const backend = await wasm.open({ precision: "exact", threads: 2 });
    const expected = await singularValues(backend, large);
    const bad = bytes.slice();
    bad.fill(0xff, bad.length - 2);
    await expect(singularValues(backend, { ...large, rows: [bad] })).rejects.toThrow(MatrixError);
    async function* failing() {
      yield bytes.subarray(0, 2 * n * 1200);
      await new Promise((resolve) => setTimeout(resolve, 100));
      throw new Error("The disk is gone");
    }
    await expect(singularValues(backend, { ...large, rows: failing() })).rejects.toThrow("The disk is gone");
    expect(await singularValues(backend, large)).toEqual(expected);
    await backend.close();
  });
});
