import { describe, expect, it } from "vitest";
import { BACKEND_NAMES, listBackends, openBackend } from "../../backends/index.ts";
import { UsageError } from "../../src/errors.ts";

const options = { precision: "exact", threads: 1 } as const;

describe("openBackend()", () => {
  it("takes wasm for auto, and says so", async () => {
    const { backend, notes } = await openBackend("auto", options);
    expect(backend.name).toBe("wasm");
    expect(notes).toEqual(["auto took the backend wasm"]);
    await backend.close();
  });

  it("opens each backend by its name, without a note", async () => {
    for (const name of ["wasm", "reference", "onnxruntime-cpu"]) {
      const { backend, notes } = await openBackend(name, options);
      expect(backend.name).toBe(name);
      expect(notes).toEqual([]);
      await backend.close();
    }
  });

  it("says so when the precision is not the one asked for, and of exact never", async () => {
    for (const name of ["auto", "wasm", "reference", "onnxruntime-cpu"]) {
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

  it("says nothing of precision where no singular values are asked for", async () => {
    const wanted = { ...options, precision: "fast", capability: "session" } as const;
    const { backend, notes } = await openBackend("onnxruntime-cpu", wanted);
    expect(notes).toEqual([]);
    await backend.close();
  });

  it("refuses a name that no backend has, and lists those there are", async () => {
    for (const name of ["gpu", "", "toString", "__proto__"]) {
      await expect(openBackend(name, options)).rejects.toThrow(UsageError);
      await expect(openBackend(name, options)).rejects.toThrow(
        /there is no such backend; choose auto, wasm, reference, cuda, onnxruntime-cpu or webgpu/,
      );
    }
  });

  it("refuses a backend that lacks the capability, and lists those that have it", async () => {
    await expect(openBackend("wasm", { ...options, capability: "session" })).rejects.toThrow(
      /it has no session; choose auto, cuda, onnxruntime-cpu or webgpu/,
    );
  });
});

describe("listBackends()", () => {
  it("states the capabilities and the availability of each, in the order that auto tries", async () => {
    const listed = await listBackends();
    expect(listed.map(({ name }) => name)).toEqual(BACKEND_NAMES);
    expect(listed).toEqual(
      expect.arrayContaining([
        { name: "wasm", capabilities: ["singularValues"], availability: { ok: true } },
        { name: "reference", capabilities: ["singularValues"], availability: { ok: true } },
        {
          name: "onnxruntime-cpu",
          capabilities: ["singularValues", "session"],
          availability: { ok: true },
        },
      ]),
    );
  });
});
