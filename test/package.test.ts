import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createPackedProject, ROOT, run } from "../scripts/packed-project.mjs";
import { TOOL } from "../src/tool.ts";

describe("the packed package, installed into an empty project", () => {
  let project: ReturnType<typeof createPackedProject>;
  beforeAll(() => {
    project = createPackedProject();
  }, 180_000);
  afterAll(() => project?.remove());

  const model = join(ROOT, "examples/wordnet-llama-2m");

  it("holds what runs and nothing that builds or tests it", () => {
    expect(project.files).toEqual(expect.arrayContaining(["LICENSE", "README.md", "dist/src/index.d.ts"]));
    expect(
      project.files.filter((name) => /^(src|backends|test|scripts|bench|dist\/bench)\//.test(name)),
    ).toEqual([]);
  });

  it("runs the SDK by name, backends included", () => {
    const script = `
      import { openModel, scan, select } from "spectrum-tune";
      import * as wasm from "spectrum-tune/backends/wasm";
      const backend = await wasm.open({ precision: "exact", threads: 1 });
      const model = await openModel(${JSON.stringify(model)});
      const results = await scan(model, { backend, cache: false, include: ["*.layers.0.*"] });
      await model.close();
      await backend.close();
      console.log(select(results, { topPercent: 100 }).modules.length);`;
    writeFileSync(join(project.folder, "sdk.mjs"), script);
    expect(run(process.execPath, ["sdk.mjs"], { cwd: project.folder })).toBe("7\n");
  });

  it("has a command line that states the version of package.json", () => {
    const output = run("npx", ["--no-install", "spectrum", "--version"], { cwd: project.folder });
    const manifest = run("npm", ["pkg", "get", "version"], { cwd: ROOT });
    expect(output.trim()).toContain(TOOL.version);
    expect(JSON.parse(manifest)).toBe(TOOL.version);
  });

  it("has types that a strict project accepts", () => {
    const code = `
      import { openModel, scan, select, type ScanResults, type Selection } from "spectrum-tune";
      export async function run(id: string): Promise<Selection> {
        const model = await openModel(id);
        const results: ScanResults = await scan(model, { precision: "exact" });
        // @ts-expect-error: a strategy that does not exist
        select(results, { strategy: "best" });
        return select(results, { topPercent: 12.5, strategy: "global" });
      }`;
    writeFileSync(join(project.folder, "consumer.ts"), code);
    const tsc = join(ROOT, "node_modules/typescript/bin/tsc");
    const flags = ["--noEmit", "--strict", "--exactOptionalPropertyTypes", "--module", "nodenext"];
    const lib = ["--target", "es2023", "--lib", "es2023,esnext.disposable,dom", "--types", ""];
    expect(run(process.execPath, [tsc, ...flags, ...lib, "consumer.ts"], { cwd: project.folder })).toBe("");
  });
});
