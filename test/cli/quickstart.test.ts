import { spawnSync } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readSelection } from "../../src/select/selection-file.ts";
import { readResults } from "../../src/snr/results-file.ts";
import { ROOT } from "./run.ts";

describe("the quickstart", () => {
  it("scans the embedded model, fine-tunes what it selects, and writes every file that it names", async () => {
    const { status, stderr } = spawnSync(process.execPath, ["scripts/quickstart.mjs", "--steps", "2"], {
      cwd: ROOT,
      encoding: "utf8",
    });
    expect(stderr).toMatch(/^Done in [0-9.]+ s\./m);
    expect(status).toBe(0);
    const folder = join(ROOT, "quickstart");
    const written = await readdir(folder, { recursive: true });
    for (const [, name = ""] of stderr.matchAll(/^ {2}([\w./]+?)\/? {4,}/gm)) expect(written).toContain(name);

    const results = await readResults(join(folder, "results.json"));
    const selection = await readSelection(join(folder, "selection.yaml"));
    const names = (await readFile(join(folder, "names.txt"), "utf8")).trimEnd().split("\n");
    // 7 types in 8 layers, a quarter of each.
    expect(selection.map(({ name }) => name).sort()).toEqual(names.sort());
    expect(names).toHaveLength(7 * 2);
    const tensors = results.modules.map(({ tensor }) => tensor);
    expect(tensors).toEqual(expect.arrayContaining(names));
  });
});
