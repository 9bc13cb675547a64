// Gram matrices on a device, and who waits for whom. The device is ONNX Runtime's CPU provider in the place of CUDA's:
// the same driver, threads and graphs; and WebGPU where there is an adapter.
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { MessageChannel, type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import { afterEach, describe, expect, it } from "vitest";
import { DeviceClient } from "../../backends/onnxruntime/device/client.ts";
import { Device, type DeviceWork, deviceWork } from "../../backends/onnxruntime/device/device.ts";
import { DeviceGram, type DeviceGramOptions } from "../../backends/onnxruntime/device/gram.ts";
import { openDeviceLanes } from "../../backends/onnxruntime/device/lanes.ts";
import type { DeviceReply, DeviceRequest, Numbers } from "../../backends/onnxruntime/device/protocol.ts";
import { Turns } from "../../backends/onnxruntime/device/turns.ts";
import { tableOf } from "../../backends/onnxruntime/device/upload.ts";
import { webgpu } from "../../backends/onnxruntime/index.ts";
import { PROVIDERS } from "../../backends/onnxruntime/providers.ts";
import type { SessionSetup } from "../../backends/onnxruntime/session/protocol.ts";
import { openSession } from "../../backends/onnxruntime/session/session.ts";
import { openPool } from "../../backends/onnxruntime/singular-values/pool.ts";
import { openThreadProducts } from "../../backends/onnxruntime/singular-values/products.ts";
import { HybridSolver } from "../../backends/onnxruntime/singular-values/solver.ts";
import { stageMs, stageOrder } from "../../backends/onnxruntime/singular-values/stage-cost.ts";
import * as wasm from "../../backends/wasm/index.ts";
import { compileKernels } from "../../backends/wasm/kernels-module.ts";
import type { BackendEntry, GraphSession, MatrixSource } from "../../src/backend.ts";
import { Graph } from "../../src/onnx/graph.ts";
import { modelFile } from "../../src/onnx/model-file.ts";
import { add } from "../../src/onnx/operators/elementwise.ts";
import { spectrumStatistics } from "../../src/snr/estimators.ts";
import { floatDTypeBytes } from "../../src/tensor/dtype.ts";
import { temporaryFolder } from "../tiny-model.ts";
import { expectExact, singularValues, testBackend } from "./conformance.ts";
import {
  drawMatrix,
  drawSpiked,
  encode,
  type Matrix,
  matrixOfSpectrum,
  type Shape,
  sourceOf,
} from "./matrices.ts";

/** CUDA's row with the graphs on the processor. */
const likeCuda = { ...PROVIDERS.cuda, name: "cpu" } as const;
const openLikeCuda = (threads: number) => openPool(likeCuda, { threads, precision: "exact" }, true);

const entry: BackendEntry = {
  name: "cuda (its graphs on the processor)",
  capabilities: ["singularValues"],
  availability: async () => ({ ok: true }),
  open: async ({ threads = 2 }) => ({ ...(await openLikeCuda(threads)), name: entry.name }),
};
testBackend(entry);

const closing: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

describe("the driver of cuda", () => {
  it("agrees with wasm where products are many and orders and depths no multiples of anything", async () => {
    const device = await openLikeCuda(1);
    const oracle = await wasm.open({ precision: "exact", threads: 1 });
    closing.push(
      () => device.close(),
      () => oracle.close(),
    );
    for (const [shape, dtype] of [
      [[2301, 1061], "BF16"],
      [[1061, 2301], "F16"],
      [[1027, 771], "F32"],
      [[897, 1025], "F64"],
      [[2051, 641], "F64"],
    ] as const) {
      const matrix = drawMatrix(shape, dtype, shape[0]);
      const expected = await singularValues(oracle, sourceOf(matrix, dtype));
      expectExact(await singularValues(device, sourceOf(matrix, dtype, 300)), [...expected]);
    }
  });

  it("has a matrix more in flight than threads: the second is done before the first has all its rows", async () => {
    const device = await openLikeCuda(1);
    closing.push(() => device.close());
    const matrix = drawMatrix([300, 200], "BF16", 7);
    const bytes = encode(matrix, "BF16");
    const whole = { shape: matrix.shape, dtype: "BF16", rows: [bytes] } as const;
    let release = () => {};
    const isReleased = new Promise<void>((resolve) => {
      release = resolve;
    });
    async function* halted(): AsyncGenerator<Uint8Array> {
      yield bytes.subarray(0, bytes.length / 2);
      await isReleased;
      yield bytes.subarray(bytes.length / 2);
    }
    const first = device.singularValues({ ...whole, rows: halted() });
    const second = await device.singularValues(whole);
    release();
    expect(await first).toEqual(second);
  });
});

describe("a matrix's products on the device", () => {
  it("are made while the processor reduces the matrix before", async () => {
    const lanes = await openDeviceLanes({ name: "cpu", lanes: 1 });
    const next = lanes.connect();
    const solver = await solverOn(lanes.connect());
    closing.push(
      () => next.close(),
      () => lanes.close(),
    );
    const matrix = drawMatrix([900, 800], "BF16", 3);
    const order = { elements: "float64", n: 64, order: 64, width: 64, wide: false } as const;
    const chunk = { depth: 128, table: null, bytes: new Float64Array(64 * 128).fill(1).buffer };
    const answers: DeviceReply[] = [];
    const reduction = new Int32Array(new SharedArrayBuffer(4));
    solver.onCheck = () => {
      // In the middle of stage one, on this thread: nothing but the device's thread can answer.
      next.postMessage({ kind: "begin", matrix: order } satisfies DeviceRequest);
      next.postMessage({ kind: "add", chunk } satisfies DeviceRequest, [chunk.bytes]);
      for (let tries = 0; tries < 3000 && answers.length === 0; tries++) {
        const answer: { message: DeviceReply } | undefined = receiveMessageOnPort(next);
        if (answer) answers.push(answer.message);
        else Atomics.wait(reduction, 0, 0, 10);
      }
    };
    const values = await solver.compute(sourceOf(matrix, "BF16"));
    expect(values?.length).toBe(800);
    expect(answers).toEqual([{ kind: "numbers", numbers: [new Float64Array(64 * 64).fill(128)] }]);
  });

  it("are asked for ahead of their answers, from bytes in the matrix's own dtype, a part at a time", async () => {
    for (const [dtype, floats] of [
      ["BF16", true],
      ["F16", false],
      ["F32", false],
      ["F32", true],
    ] as const) {
      const { port, requests, answer } = recordingDevice({ row: { ...likeCuda, float64: !floats } });
      const solver = await solverOn(port, { ...DOUBLES, floats });
      const matrix = drawMatrix([4099, 64], dtype, 5);
      const values = solver.compute(sourceOf(matrix, dtype));
      const ahead = floats ? 2 : 1;
      await expect.poll(() => requests.length).toBe(1 + ahead); // and no more, until it answers
      answer();
      await values;
      const chunks = requests.flatMap((request) => (request.kind === "add" ? [request.chunk] : []));
      const bytes = chunks.reduce((sum, chunk) => sum + chunk.bytes.byteLength, 0);
      const rows = Math.max(...chunks.map(({ depth }) => depth));
      expect(rows).toBeLessThanOrEqual(1024);
      expect(bytes).toBe(4100 * 64 * floatDTypeBytes(dtype));
      expect(requests.at(-1)?.kind).toBe("take");
    }
  });

  it("fail in one sentence that names the backend, and the next matrix is computed", async () => {
    const { port, requests, answer } = recordingDevice({ failure: "out of memory" });
    const solver = await solverOn(port);
    const matrix = drawMatrix([90, 60], "BF16", 5);
    const failing = solver.compute(sourceOf(matrix, "BF16"));
    failing.catch(() => {});
    await expect.poll(() => requests.length).toBeGreaterThan(1);
    answer();
    await expect(failing).rejects.toThrow(/^The device of cuda failed: out of memory$/);
    const values = await solver.compute(sourceOf(matrix, "BF16"));
    const expected = await singularValues(await opened(wasm), sourceOf(matrix, "BF16"));
    expectExact(values ?? new Float64Array(), [...expected]);
  });

  it("are refused in one sentence where the thread that owns the device is gone", async () => {
    const lanes = await openDeviceLanes({ name: "cpu", lanes: 1 });
    const solver = await solverOn(lanes.connect());
    await lanes.close();
    const values = solver.compute(sourceOf(drawMatrix([90, 60], "BF16", 5), "BF16"));
    await expect(values).rejects.toThrow("The thread that owns the device of cuda has ended");
  });

  it("are refused, not waited for, where that thread died before they came, and made by the next backend's", async () => {
    const device = await openLikeCuda(1);
    const lanes = await openDeviceLanes({ name: "cpu", lanes: 1 });
    lanes.connect().postMessage(null); // no request: it throws
    await lanes.death;
    const matrix = drawMatrix([90, 60], "BF16", 5);
    const refused = singularValues(device, sourceOf(matrix, "BF16"));
    await expect(refused).rejects.toThrow("The thread that owns the device of cuda has ended");
    const next = await openLikeCuda(1);
    closing.push(() => next.close());
    await Promise.all([device.close(), lanes.close()]);
    const expected = await singularValues(await opened(wasm), sourceOf(matrix, "BF16"));
    expectExact(await singularValues(next, sourceOf(matrix, "BF16")), [...expected]);
  });
});

describe("sessions on the thread that owns the device", () => {
  /** y = x + x, on the processor as the device. */
  async function doubling(): Promise<SessionSetup> {
    const g = new Graph();
    const x = g.input("x", "float32", ["size"]);
    g.output("y", add(g, x, x));
    const path = join(await temporaryFolder(), "graph.onnx");
    await writeFile(path, modelFile(g, { name: "test", producer: { name: "test", version: "0" } }));
    return { graph: { path, weightsFolder: null }, provider: "cpu", threads: 1 };
  }
  const run = async (session: GraphSession, x: number) => {
    const feed = { dtype: "float32", shape: [1], values: Float32Array.of(x) } as const;
    const { outputs, feeds } = await session.run(new Map([["x", feed]]), ["y"]);
    return [feeds.get("x")?.values[0], outputs.get("y")?.values[0]];
  };

  it("answer each its own runs, beside matrices, and the thread goes with the last of them", async () => {
    const setup = await doubling();
    const [one, other] = await Promise.all([openSession(setup, true), openSession(setup, true)]);
    expect([...one.inputs, ...one.outputs]).toEqual([
      ["x", "float32"],
      ["y", "float32"],
    ]);
    const device = await openLikeCuda(1);
    const matrix = drawMatrix([200, 150], "BF16", 5);
    const values = singularValues(device, sourceOf(matrix, "BF16"));
    const runs = [run(one, 1), run(other, 2), run(one, 3), run(other, 4)];
    expect(await Promise.all(runs)).toEqual([
      [1, 2],
      [2, 4],
      [3, 6],
      [4, 8],
    ]);
    const expected = await singularValues(await opened(wasm), sourceOf(matrix, "BF16"));
    expectExact(await values, [...expected]);
    await Promise.all([one.close(), device.close()]);
    await expect(run(one, 1)).rejects.toThrow("was closed");
    expect(await run(other, 5)).toEqual([5, 10]);
    const lanes = await openDeviceLanes({ name: "cpu", lanes: 1 });
    const port = lanes.connect();
    const ended = once(port, "close");
    await lanes.close();
    expect(await run(other, 6)).toEqual([6, 12]);
    await other.close();
    await ended;
  });

  it("name the graph that cannot be loaded or run, and leave the thread to others", async () => {
    const setup = await doubling();
    const session = await openSession(setup, true);
    closing.push(() => session.close());
    const missing = openSession({ ...setup, graph: { path: "none.onnx", weightsFolder: null } }, true);
    await expect(missing).rejects.toThrow(/^Cannot load none\.onnx: /);
    const wrong = session.run(new Map(), ["y"]);
    await expect(wrong).rejects.toThrow(`Cannot run ${setup.graph.path}: `);
    const feeds = new Map([["x", { dtype: "float32", shape: [1], values: Float32Array.of(6) } as const]]);
    const first = session.run(feeds, ["y"]);
    await expect(session.run(feeds, ["y"])).rejects.toThrow(
      'expected 1 values of "x", got 0; is its memory with another run?',
    );
    expect((await first).outputs.get("y")?.values).toEqual(Float32Array.of(12));
  });

  it("refuse runs in one sentence where that thread has died", async () => {
    const session = await openSession(await doubling(), true);
    const lanes = await openDeviceLanes({ name: "cpu", lanes: 1 });
    lanes.connect().postMessage(null); // no request: it throws
    await lanes.death;
    const gone = "The thread that owns the device of onnxruntime-cpu has ended";
    await expect(run(session, 1)).rejects.toThrow(gone);
    await expect(run(session, 2)).rejects.toThrow(gone);
    await Promise.all([session.close(), lanes.close()]);
    const next = await openSession(await doubling(), true);
    expect(await run(next, 3)).toEqual([3, 6]);
    await next.close();
  });
});

/** Stage one on the device from here on; 640 rows are left to the processor. */
const STAGED: DeviceGramOptions = { floats: true, stageOrder: 700 };
/** WebGPU's row with the graphs on the processor. */
const likeWebGpu = { ...PROVIDERS.webgpu, name: "cpu", keepsTensors: false } as const;

/** Values from a device that does stage one, beside wasm's, and what it was asked. */
async function staged(
  matrix: Matrix,
  dtype: "BF16" | "F32",
  { row = likeWebGpu, alter }: { row?: DeviceRow; alter?: (numbers: readonly Numbers[]) => void },
) {
  const { port, requests, answer } = recordingDevice({ row, alter });
  answer();
  const solver = await solverOn(port, STAGED);
  const actual = (await solver.compute(sourceOf(matrix, dtype))) ?? new Float64Array();
  const expected = await singularValues(await opened(wasm), sourceOf(matrix, dtype));
  const of = (kind: DeviceRequest["kind"]) => requests.filter((request) => request.kind === kind).length;
  return { actual, expected, panels: of("step"), loads: of("load"), rests: of("rest") };
}

function expectWithin(
  actual: Float64Array,
  expected: Float64Array,
  { shape, snr }: { shape: Shape; snr: number },
) {
  const [got, wanted] = [actual, expected].map((each) => spectrumStatistics(each, shape).snr.spectrum ?? NaN);
  expect(Math.abs((got ?? NaN) / (wanted ?? NaN) - 1)).toBeLessThan(snr);
  const largest = expected[0] ?? NaN;
  for (const [i, value] of actual.entries())
    expect(Math.abs((value / largest) ** 2 - ((expected[i] ?? NaN) / largest) ** 2)).toBeLessThan(2 ** -22);
}

describe("stage one on a device", () => {
  it("multiplies and updates there, panel by panel, and gives the SNR", async () => {
    for (const [matrix, dtype] of [
      [drawMatrix([1300, 1100], "BF16", 31), "BF16"],
      [drawMatrix([1000, 1180], "F32", 32), "F32"],
      [drawSpiked([1400, 1031], 1, 33), "BF16"],
    ] as const) {
      const { actual, expected, panels, loads, rests } = await staged(matrix, dtype, {});
      expect([loads, rests]).toEqual([1, 1]);
      const order = 32 * Math.ceil(Math.min(...matrix.shape) / 32);
      const all = Math.ceil((order - 640) / 32);
      expect(panels).toBeLessThanOrEqual(all - 2);
      expect(panels).toBeGreaterThanOrEqual(all - 8); // the first ones, here and in doubles
      expectWithin(actual, expected, { shape: matrix.shape, snr: 1e-5 });
      expect(actual).not.toEqual(expected);
    }
  });

  it("is done again in doubles where it went wrong on the device", async () => {
    const matrix = drawMatrix([1000, 900], "BF16", 34);
    let altered = 0;
    const alter = ([y, panel]: readonly Numbers[]) => {
      if (y === undefined || panel === undefined) return;
      if (y.length === panel.length && altered++ === 0) y[5] = (y[5] ?? 0) * 1.1;
    };
    const right = await staged(matrix, "BF16", {});
    const wrong = await staged(matrix, "BF16", { alter });
    expect(altered).toBeGreaterThan(0);
    expect(wrong.actual).not.toEqual(right.actual);
    expectWithin(wrong.actual, wrong.expected, { shape: matrix.shape, snr: 1e-6 });
  });

  it("leaves to wasm what the Gram matrix is too coarse for, to the same bits", async () => {
    const values = Array.from({ length: 720 }, (_, i) => (i < 5 ? 1 : 1e-3 * (1 - i / 2048)));
    const { actual, expected } = await staged(matrixOfSpectrum([800, 720], values, 35), "F32", {});
    expect(actual).toEqual(expected);
  });

  it("is worth it from an order on that grows with the threads which would do it else", () => {
    expect([1, 2, 4, 8, 64].map(stageOrder)).toEqual([1536, 2048, 3584, 6144, Infinity]);
    const { processor, device } = stageMs(4096);
    expect(processor / device).toBeGreaterThan(5);
  });
});

describe("Turns", () => {
  it("takes what the client begun first asks for, as long as it asks", () => {
    const [a, b] = [{ requests: [1, 2] }, { requests: [3] }];
    const turns = new Turns<{ requests: number[] }>();
    turns.begin(a);
    turns.begin(b);
    const served: number[] = [];
    for (let client = turns.next(); client !== null; client = turns.next()) {
      served.push(client.requests.shift() ?? NaN);
      if (served.length === 2) turns.begin(a); // its next matrix, which comes after b's
      if (served.length === 2) a.requests.push(4);
    }
    expect(served).toEqual([1, 2, 3, 4]);
    a.requests.push(5);
    turns.end(a);
    expect(turns.next()).toBeNull();
  });
});

describe("the webgpu backend, of many at once", async () => {
  const { ok } = await webgpu.availability();

  it.skipIf(!ok)("gives the bits of one at a time with three threads", async () => {
    const backend = await webgpu.open({ precision: "fast", threads: 3 });
    closing.push(() => backend.close());
    expect(backend.concurrency).toBe(4);
    const valuesOf = (seed: number) => {
      const matrix = drawMatrix(seed % 2 === 0 ? [130, 90] : [90, 131], "BF16", seed);
      return singularValues(backend, sourceOf(matrix, "BF16"));
    };
    const seeds = [1, 2, 3, 4, 5];
    const alone: Float64Array[] = [];
    for (const seed of seeds) alone.push(await valuesOf(seed));
    expect(await Promise.all(seeds.map(valuesOf))).toEqual(alone);
  });

  it.skipIf(!ok)("shares the device between backends that are open at once", async () => {
    const open = () => webgpu.open({ precision: "fast", threads: 1 });
    const [one, other] = await Promise.all([open(), open()]);
    closing.push(() => other.close());
    const source = () => sourceOf(drawMatrix([130, 90], "F16", 3), "F16");
    const [a, b] = await Promise.all([singularValues(one, source()), singularValues(other, source())]);
    await one.close();
    expect([a, await singularValues(other, source())]).toEqual([b, b]);
    const closed = other.close();
    const later = await open(); // whose thread starts once the one before has ended
    closing.push(() => later.close());
    expect(await singularValues(later, source())).toEqual(a);
    await closed;
  });

  it.skipIf(!ok)("does stage one, and gives the SNR", async () => {
    const matrix = drawMatrix([810, 801], "BF16", 36);
    const { actual, expected, panels } = await staged(matrix, "BF16", { row: PROVIDERS.webgpu });
    expect(panels).toBeGreaterThan(1);
    expectWithin(actual, expected, { shape: matrix.shape, snr: 1e-5 });
  });

  it.skipIf(!ok)("keeps what rounding loses of a long sum of floats", async () => {
    const device = new Device(PROVIDERS.webgpu);
    closing.push(() => device.release());
    const matrix = { elements: "codes", n: 6, order: 32, width: 32, wide: false } as const;
    const work = deviceWork(matrix);
    const codes = new Uint16Array(1024 * 6).fill(0x42fe, 0, 1022 * 6); // 127: 1,022 squares are exact, 21 times that is not
    const table = tableOf("BF16", { factor: 1, floats: true });
    for (let chunk = 0; chunk < 21; chunk++)
      expect(await device.add(work, { depth: 1024, table, bytes: codes.slice().buffer })).toEqual([]);
    const [sum, rest] = await device.take(work);
    expect(sum?.length).toBe(32 * 32);
    for (const [i, x] of (sum ?? []).entries()) {
      const inside = Math.floor(i / 32) < 6 && i % 32 < 6;
      expect(x + (rest?.[i] ?? NaN)).toBe(inside ? 21 * 1022 * 127 ** 2 : 0);
    }
    expect(rest?.[0]).not.toBe(0);
  });
});

async function opened({ open }: BackendEntry) {
  const backend = await open({ precision: "exact", threads: 1 });
  closing.push(() => backend.close());
  return backend;
}

const DOUBLES: DeviceGramOptions = { floats: false, stageOrder: Number.POSITIVE_INFINITY };

/** A solver on this thread, on the device at the other end of the port. */
async function solverOn(port: MessagePort, { floats, stageOrder }: DeviceGramOptions = DOUBLES) {
  const products = await openThreadProducts({ floats: Number.isFinite(stageOrder) });
  const device = new DeviceGram(new DeviceClient(port, "cuda"), { floats, stageOrder });
  closing.push(
    () => products.release(),
    () => device.close(),
  );
  const running = {
    /** Called once, in the middle of stage one of a matrix. */
    onCheck: () => {},
    async compute({ shape, dtype, rows }: MatrixSource) {
      solver.begin({ shape, dtype, rereadable: false });
      for await (const block of rows) await solver.append(block);
      isReducing = true;
      return solver.finish();
    },
  };
  let isReducing = false;
  let checks = 0;
  const solver = new HybridSolver(
    compileKernels().module,
    products,
    () => {
      if (isReducing && ++checks === 20) running.onCheck();
      return false;
    },
    device,
  );
  return running;
}

type DeviceRow = ConstructorParameters<typeof Device>[0];

interface RecordingOptions {
  readonly row?: DeviceRow;
  /** What it says to the first request that it answers. */
  readonly failure?: string | null;
  /** Changes an answer. */
  readonly alter?: ((numbers: readonly Numbers[]) => void) | undefined;
}

/** A device on this thread that says what it was asked, and holds its answers back until it is told to give them. */
function recordingDevice({ row = likeCuda, failure = null, alter }: RecordingOptions) {
  const { port1, port2 } = new MessageChannel();
  const device = new Device(row);
  closing.push(
    () => port2.close(),
    () => device.release(),
  );
  const requests: DeviceRequest[] = [];
  let release = () => {};
  let failing = failure;
  let work: DeviceWork | null = null;
  let last = new Promise<void>((resolve) => {
    release = resolve;
  });
  port2.on("message", (request: DeviceRequest) => {
    requests.push(request);
    last = last.then(() => perform(request));
  });
  async function perform(request: DeviceRequest): Promise<void> {
    if (request.kind === "begin") work = deviceWork(request.matrix);
    else if (failing !== null) {
      port2.postMessage({ kind: "failed", message: failing } satisfies DeviceReply);
      failing = null;
    } else if (work !== null) {
      const numbers = await device.answer(work, request);
      alter?.(numbers);
      port2.postMessage({ kind: "numbers", numbers } satisfies DeviceReply);
    }
  }
  return { port: port1, requests, answer: () => release() };
}
