import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { beforeAll, describe, expect, it } from "vitest";
import { listBackends, openBackend } from "../../backends/index.ts";
import type { GraphSource, GraphTensor } from "../../src/backend.ts";
import { openArtifactGraph } from "../../src/training/artifact-graph.ts";
import { readCheckpoint } from "../../src/training/checkpoint.ts";
import { readManifest } from "../../src/training/read-manifest.ts";
import { temporaryFolder } from "../tiny-model.ts";
import { embeddedTorch, exported } from "../training/embedded.ts";
import { batchOf, tinyArtifacts } from "../training/tiny-artifacts.ts";

const OPTIONS = { precision: "fast", threads: 1, capability: "session" } as const;

const scalar = (value: number): GraphTensor => ({
  dtype: "float32",
  shape: [],
  values: Float32Array.of(value),
});

/** Feeds of the optimizer graph: every parameter 1, every gradient 0. */
async function optimizerFeeds(folder: string): Promise<Map<string, GraphTensor>> {
  const { optimizer } = JSON.parse(await readFile(join(folder, "manifest.json"), "utf8"));
  const feeds = new Map<string, GraphTensor>([
    ["learning_rate", scalar(0.5)],
    ["grad_scale", scalar(1)],
    ["step", { dtype: "int64", shape: [], values: BigInt64Array.of(1n) }],
  ]);
  for (const { name, shape } of optimizer.inputs) {
    if (feeds.has(name)) continue;
    const size = shape.reduce((product: number, side: number) => product * side, 1);
    const initial = /\.(grad|exp_avg|exp_avg_sq)$/.test(name) ? 0 : 1;
    feeds.set(name, { dtype: "float32", shape, values: new Float32Array(size).fill(initial) });
  }
  return feeds;
}

describe("the table of backends", () => {
  it("says of each whether it can run, and what to install where it cannot", async () => {
    for (const { name, availability } of await listBackends()) {
      if (availability.ok) continue;
      expect(["cuda", "webgpu"]).toContain(name);
      expect(availability.reason).not.toBe("");
      expect(availability.fix).toContain("install");
    }
  });

  it("runs a graph on every backend that says it can, and refuses the others with the fix", async () => {
    for (const { name, capabilities, availability } of await listBackends()) {
      if (!capabilities.includes("session")) continue;
      const opening = openBackend(name, OPTIONS);
      if (availability.ok) await (await opening).backend.close();
      else await expect(opening).rejects.toThrow(availability.fix);
    }
  });

  it("takes for singular values one that computes them exactly, and a runtime of graphs for sessions", async () => {
    const scanning = await openBackend("auto", { precision: "exact", threads: 1 });
    expect(["wasm", "onnxruntime-cpu", "cuda"]).toContain(scanning.backend.name);
    await scanning.backend.close();
    const training = await openBackend("auto", OPTIONS);
    expect(training.backend.session).toBeTypeOf("function");
    await training.backend.close();
    await expect(openBackend("wasm", OPTIONS)).rejects.toThrow("it has no session");
  });
});

describe("the dtype that graphs compute in", () => {
  const HALF = { ...OPTIONS, computeDtype: "bfloat16" } as const;

  it("is float32 on every backend of graphs, and one that a backend does not compute in is refused", async () => {
    await expect(openBackend("onnxruntime-cpu", HALF)).rejects.toThrow(
      /Cannot compute in bfloat16 on the backend onnxruntime-cpu, which computes in float32 and float16; export/,
    );
    for (const { name, capabilities, availability } of await listBackends()) {
      if (!capabilities.includes("session") || !availability.ok) continue;
      const { backend } = await openBackend(name, { ...OPTIONS, computeDtype: "float32" });
      expect(backend.computeDtypes).toContain("float32");
      await backend.close();
    }
  });

  it("is what auto chooses by: only cuda computes in bfloat16", async () => {
    const cuda = (await listBackends()).find(({ name }) => name === "cuda");
    const opening = openBackend("auto", HALF);
    if (cuda?.availability.ok) {
      const { backend } = await opening;
      expect(backend.name).toBe("cuda");
      await backend.close();
    } else await expect(opening).rejects.toThrow("onnxruntime-cpu does not compute in bfloat16");
  });
});

describe("a session on onnxruntime-cpu", () => {
  let folder: string;
  let graph: GraphSource;
  beforeAll(async () => {
    folder = await tinyArtifacts();
    graph = { path: join(folder, "optimizer_model.onnx"), weightsFolder: null };
  });

  const withSession = async (source: GraphSource) => {
    const { backend } = await openBackend("onnxruntime-cpu", OPTIONS);
    const session = await backend.session?.(source);
    if (session === undefined) throw new Error("no session");
    return { backend, session };
  };

  it("hands feeds over and gives them back with the outputs", async () => {
    const { backend, session } = await withSession(graph);
    const feeds = await optimizerFeeds(folder);
    const name = "model.layers.0.proj.weight";
    const before = feeds.get(name);
    const { outputs, feeds: returned } = await session.run(feeds, [`${name}.next`]);
    expect(before?.values.length).toBe(0);
    expect([...returned.keys()]).toEqual([...feeds.keys()]);
    expect(returned.get(name)?.values[0]).toBe(1);
    // No gradient: AdamW only decays, 1 - 0.5 * 0.1.
    const decayed = outputs.get(`${name}.next`)?.values;
    expect(decayed).toEqual(new Float32Array(256).fill(0.95));
    expect([...outputs.keys()]).toEqual([`${name}.next`]);
    await backend.close();
    await expect(session.run(returned, [])).rejects.toThrow("was closed");
  });

  it("leaves the event loop free while a graph runs", async () => {
    const { backend } = await openBackend("onnxruntime-cpu", OPTIONS);
    const artifacts = await exported("25");
    const manifest = await readManifest(artifacts);
    const { parameters } = await readCheckpoint(join(artifacts, manifest.checkpoint), manifest.parameters);
    const trainable = { folder: artifacts, manifest, parameters };
    const training = await openArtifactGraph(backend, trainable, "training");
    const batch = batchOf(embeddedTorch, 0, 16);
    const running = training.run({ batch, items: batch.targets, outputs: ["loss"] });
    let isRunning = true;
    const done = running.finally(() => {
      isRunning = false;
    });
    // Each turn of the loop waits for timers: were the graph run on this thread, there would be none until it ends.
    let turns = 0;
    while (isRunning) {
      await setTimeout(1);
      if (isRunning) turns++;
    }
    await done;
    expect(turns).toBeGreaterThan(5);
    await backend.close();
  });

  it("runs calls in the order in which they came, and rejects those in flight when closed", async () => {
    const { backend, session } = await withSession(graph);
    const output = "model.layers.0.proj.weight.next";
    const values = [];
    for (const rate of [0.1, 0.2, 0.3]) {
      const feeds = (await optimizerFeeds(folder)).set("learning_rate", scalar(rate));
      values.push(session.run(feeds, [output]).then(({ outputs }) => outputs.get(output)?.values[0]));
    }
    expect((await Promise.all(values)).map(Number)).toEqual(
      [0.99, 0.98, 0.97].map((value) => expect.closeTo(value, 6)),
    );
    const running = session.run(await optimizerFeeds(folder), [output]);
    const closing = backend.close();
    await expect(running).rejects.toThrow("was closed");
    await closing;
  });

  it("names the graph and what is wrong with it or its feeds", async () => {
    const path = join(await temporaryFolder(), "broken.onnx");
    await writeFile(path, "no graph");
    await expect(withSession({ path, weightsFolder: null })).rejects.toThrow(/Cannot load .*broken\.onnx: /);
    const { backend, session } = await withSession(graph);
    await expect(session.run(new Map(), ["model.layers.0.proj.weight.next"])).rejects.toThrow(
      /Cannot run .*optimizer_model\.onnx: /,
    );
    await backend.close();
  });
});
