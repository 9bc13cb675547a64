import { describe, expect, it } from "vitest";
import { violations } from "../scripts/architecture.mjs";

const check = (sources: Record<string, string>) => violations(new Map(Object.entries(sources)));

describe("architecture check", () => {
  it("lets a stage use the backend contract and the table of backends", () => {
    const text =
      'import type { Backend } from "../backend.ts";\nimport { openBackend } from "../../backends/index.ts";';
    expect(check({ "src/snr/scan.ts": text })).toEqual([]);
  });

  it.each([
    ["src/snr/scan.ts", 'import { pool } from "../../backends/wasm/pool.ts";'],
    ["src/snr/scan.ts", 'const wasm = await import("../../backends/wasm/index.ts");'],
    ["src/tensor/dtype.ts", 'import type { Model } from "../hub/model.ts";'],
    ["src/cli/scan.ts", 'import { scan } from "../snr/scan.ts";'],
    ["backends/wasm/index.ts", 'import { scan } from "../../src/snr/scan.ts";'],
    ["backends/wasm/index.ts", 'import { jacobi } from "../reference/jacobi.ts";'],
    ["backends/calibration/timing.ts", 'import { open } from "../wasm/index.ts";'],
    ["backends/calibration/stored.ts", 'import { openScoreCache } from "../../src/snr/score-cache.ts";'],
    ["backends/calibration/choice.ts", 'import { readFile } from "node:fs/promises";'],
    ["src/modules/role.ts", 'import {\n  readFile,\n} from "node:fs/promises";'],
    ["src/utils/things.ts", "export const one = 1;"],
  ])("fails when %s holds %s", (path, text) => {
    expect(check({ [path]: text })).toHaveLength(1);
  });

  it("names every file of an import cycle", () => {
    const found = check({
      "src/hub/a.ts": 'import { b } from "./b.ts";',
      "src/hub/b.ts": 'export { a } from "./a.ts";',
    });
    expect(found).toEqual(["Import cycle: src/hub/a.ts -> src/hub/b.ts -> src/hub/a.ts"]);
  });
});
