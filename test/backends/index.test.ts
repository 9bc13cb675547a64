import { describe, expect, it } from "vitest";
import { BACKEND_NAMES, fastestBackend, listBackends, openBackend } from "../../backends/index.ts";
import { UsageError } from "../../src/errors.ts";

const options = { precision: "exact", threads: 1 } as const;

describe("openBackend()", () => {
  it("takes for auto what fastestBackend() says, which is not the reference, and says so", async () => {
    const { backend, notes } = await openBackend("auto", options);
    const fastest = await fastestBackend(options);
    expect(fastest.candidates).toContain("wasm");
    expect(fastest.candidates).not.toContain("reference");
    expect(backend.name).toBe(fastest.backend);
    expect(notes.at(-1)).toMatch(new RegExp(`^auto took the backend ${backend.name}(: |$)`));
    await backend.close();
  });

  it("opens each backend by its name, without a note", async () => {
    for (const name of ["wasm", "reference", "onnxruntime-cpu"]) {
      const capability = name.startsWith("onnxruntime") ? "session" : "singularValues";
      const { backend, notes } = await openBackend(name, { ...options, capability });
      expect(backend.name).toBe(name);
      expect(notes).toEqual([]);
      await backend.close();
    }
  });

  it("opens for svd what has it: auto the fast one", async () => {
    for (const [choice, name] of [
      ["auto", "wasm"],
      ["reference", "reference"],
    ] as const) {
      const { backend } = await openBackend(choice, { ...options, capability: "svd" });
      expect(backend.name).toBe(name);
      expect(backend.svd).toBeTypeOf("function");
      await backend.close();
    }
    await expect(openBackend("onnxruntime-cpu", { ...options, capability: "svd" })).rejects.toThrow(
      /it has no svd; choose auto, wasm or reference/,
    );
  });

  it("says so when the precision is not the one asked for, and of exact never", async () => {
    for (const name of ["auto", "wasm", "reference"]) {
      const { backend, notes } = await openBackend(name, { ...options, precision: "fast" });
      const said = notes.filter((note) => note.includes("has no precision fast"));
      expect(said).toEqual(
        backend.precision === "fast" ? [] : [expect.stringContaining(`it computes ${backend.precision}`)],
      );
      await backend.close();
      const exact = await openBackend(name, options);
      expect(exact.backend.precision).toBe("exact");
      expect(exact.notes.filter((note) => note.includes("precision"))).toEqual([]);
      await exact.backend.close();
    }
  });

  it("refuses a name that no backend has, and lists those there are", async () => {
    for (const name of ["gpu", "", "toString", "__proto__"]) {
      await expect(openBackend(name, options)).rejects.toThrow(UsageError);
      await expect(openBackend(name, options)).rejects.toThrow(
        /there is no such backend; choose auto, wasm or reference/,
      );
    }
  });

  it("refuses a backend that lacks the capability, and lists those that have it", async () => {
    await expect(openBackend("onnxruntime-cpu", options)).rejects.toThrow(
      /it has no singularValues; choose auto, wasm or reference/,
    );
    await expect(openBackend("wasm", { ...options, capability: "session" })).rejects.toThrow(
      /it has no session; choose auto, cuda, onnxruntime-cpu or webgpu/,
    );
  });
});

describe("listBackends()", () => {
  it("states the capabilities and the availability of each, in the order that auto tries", async () => {
    const listed = await listBackends();
    const scans = { capabilities: ["singularValues", "svd"], computeDtypes: [] };
    const trains = { capabilities: ["session"], computeDtypes: ["float32", "float16"] };
    expect(listed.map(({ name }) => name)).toEqual(BACKEND_NAMES);
    expect(listed).toEqual(
      expect.arrayContaining([
        { name: "wasm", ...scans, availability: { ok: true } },
        { name: "reference", ...scans, availability: { ok: true } },
        { name: "onnxruntime-cpu", ...trains, availability: { ok: true } },
      ]),
    );
  });
});
