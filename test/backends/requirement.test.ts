// Which backend auto takes for graphs, with rows that stand for machines that are not at hand.
import { describe, expect, it } from "vitest";
import { checkBackend, openBackend } from "../../backends/index.ts";
import { firstThatRuns } from "../../backends/requirement.ts";
import type { BackendEntry } from "../../src/backend.ts";
import { BackendUnavailableError, UsageError } from "../../src/errors.ts";

const row = (name: string, can: Partial<BackendEntry>): BackendEntry => ({
  name,
  capabilities: ["session"],
  computeDtypes: ["float32"],
  availability: async () => ({ ok: true }),
  open: async () => {
    throw new Error("is not opened to choose");
  },
  ...can,
});
const gpu = row("gpu", { float8Weights: false, computeDtypes: ["float32", "bfloat16"] });
const cpu = row("cpu", { float8Weights: true });
const missing = row("missing", {
  float8Weights: true,
  availability: async () => ({ ok: false, reason: "there is none", fix: "install one" }),
});

describe("auto for graphs", () => {
  it("takes the first backend, and passes over one that does not decode 8-bit floats, and says so", async () => {
    const plain = await firstThatRuns([gpu, cpu], { capability: "session" });
    expect(plain).toEqual({ entry: gpu, notes: ["auto took the backend gpu"] });
    const float8 = await firstThatRuns([missing, gpu, cpu], { capability: "session", float8Weights: true });
    expect(float8).toEqual({
      entry: cpu,
      notes: [
        "missing cannot run here: there is none; install one",
        "gpu does not decode weights in 8-bit floats",
        "auto took the backend cpu",
      ],
    });
  });

  it("ends with what each backend lacks where none runs such graphs", async () => {
    const wanted = { computeDtype: "bfloat16", float8Weights: true } as const;
    const error = await firstThatRuns([missing, gpu, cpu], wanted).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(BackendUnavailableError);
    expect(error).toMatchObject({
      message:
        "Cannot use any backend: missing cannot run here: there is none; install one; gpu does not decode weights in 8-bit floats; cpu does not compute in bfloat16, but in float32: export the model for one of these",
    });
  });
});

describe("a backend by its name", () => {
  const wanted = { capability: "session", float8Weights: true } as const;

  it.each(["cuda", "webgpu"])(
    "%s is refused in one sentence for weights in 8-bit floats, with a GPU or without",
    async (name) => {
      const sentence = `Cannot use the backend ${name} for weights in 8-bit floats, which it does not decode; choose onnxruntime-cpu, or train the model before it was quantised`;
      for (const refused of [
        checkBackend(name, wanted),
        openBackend(name, { ...wanted, precision: "fast" }),
      ]) {
        const error = await refused.catch((reason: unknown) => reason);
        expect(error).toBeInstanceOf(UsageError);
        expect(error).toMatchObject({ message: sentence });
      }
    },
  );

  it("onnxruntime-cpu decodes them, so that auto opens it", async () => {
    const { backend, notes } = await openBackend("auto", { ...wanted, precision: "fast", threads: 1 });
    expect(backend).toMatchObject({ name: "onnxruntime-cpu", float8Weights: true });
    expect(notes.at(-1)).toBe("auto took the backend onnxruntime-cpu");
    await backend.close();
  });
});
