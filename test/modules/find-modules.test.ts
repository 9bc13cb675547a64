import { describe, expect, it } from "vitest";
import type { ModelModule } from "../../src/modules/module.ts";
import { FAMILIES, type Family, modulesOf, readFamily, typesOf } from "./families.ts";

const MATRIX_CLASS =
  /^(?:Linear|FalconLinear|Conv1D|Conv[123]d|Embedding|.*PositionalEmbedding|.*Router|.*Experts)$/;
const NORM_CLASS = /Norm$/;
const EMBEDDING_CLASS = /Embedding$/;

/** Tensors that stand for another name of the same storage, the first name of each group excepted. */
function aliases({ tied }: Family): ReadonlySet<string> {
  return new Set(tied.flatMap((names) => names.slice(1)));
}

function byTensor(modules: readonly ModelModule[]): ReadonlyMap<string, ModelModule> {
  return new Map(modules.flatMap((m) => [[m.tensor, m] as const, ...(m.bias ? [[m.bias, m] as const] : [])]));
}

describe.each(FAMILIES)("findModules() on %s", (family) => {
  const description = readFamily(family);
  const modules = modulesOf(family);
  const owner = byTensor(modules);

  it("accounts for every tensor once: a module, its bias, or another name of one", () => {
    const seen = new Set(modules.flatMap(({ tensor, bias }) => (bias === null ? [tensor] : [tensor, bias])));
    const expected = description.memory.map(([name]) => name).filter((name) => !seen.has(name));
    const secondNames = [...aliases(description)];
    // The one difference between what transformers ties when it makes the model and what the checkpoint holds.
    if (family === "t5-untied") secondNames.splice(secondNames.indexOf("lm_head.weight"), 1);
    expect(expected.sort()).toEqual(secondNames.sort());
    expect(new Set(modules.map(({ name }) => name)).size).toBe(modules.length);
  });

  it("ranks the weights of torch's linear, convolution, embedding and expert modules, and no norm", () => {
    for (const [name, , shape, torchClass = ""] of description.memory) {
      if (aliases(description).has(name) || name.endsWith("bias")) continue;
      const module = owner.get(name);
      if (MATRIX_CLASS.test(torchClass) && shape.length > 1)
        expect(module, name).toMatchObject({ kind: "matrix" });
      if (NORM_CLASS.test(torchClass)) expect(module, name).toMatchObject({ kind: "vector", matrix: null });
    }
  });

  it("calls exactly torch's embeddings embeddings", () => {
    const embeddings = description.memory
      .filter(
        ([name, , , torchClass = ""]) => EMBEDDING_CLASS.test(torchClass) && !aliases(description).has(name),
      )
      .map(([name]) => name);
    const found = modules.filter(({ part }) => part === "embedding").map(({ tensor }) => tensor);
    expect(found.sort()).toEqual(embeddings.sort());
  });

  it("finds one head or the embedding that stands for it", () => {
    const heads = modules.filter(({ part, tiedTo }) => part === "head" || tiedTo !== null);
    expect(heads).toHaveLength(1);
  });

  it("scores as many numbers as the tensors hold", () => {
    for (const { matrix, shape } of modules) {
      if (matrix !== null)
        expect(matrix[0] * matrix[1]).toBe(shape.reduce((product, size) => product * size, 1));
    }
  });

  it("lists the modules of a type by layer, then by expert", () => {
    for (const type of typesOf(modules)) {
      const places = modules
        .filter((module) => module.type === type)
        .map((m) => (m.layer ?? 0) * 1000 + (m.expert ?? 0));
      expect(places).toEqual([...places].sort((a, b) => a - b));
    }
  });
});
