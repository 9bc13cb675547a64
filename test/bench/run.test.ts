import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const RUN = fileURLToPath(new URL("../../dist/bench/run.js", import.meta.url));

function bench(...args: string[]) {
  return spawnSync(process.execPath, [RUN, ...args], { encoding: "utf8" });
}

it("bench says with --help what it and each part measures, and measures nothing", () => {
  for (const [part, sentence] of [
    [[], "npm run bench -- --quick"],
    [["svd"], "npm run bench -- svd --json new.json"],
    [["scan"], "SPECTRUM_PY="],
    [["busy"], "npm run bench -- busy --layers 8"],
    [["train"], "npm run bench -- train --model 2m"],
  ] as const) {
    const { status, stdout, stderr } = bench(...part, "--help");
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toContain(sentence);
    expect(stdout).not.toContain("//");
  }
});

it("bench names its parts where it is asked for another", () => {
  const { status, stderr } = bench("nothing");
  expect(status).toBe(2);
  expect(stderr).toContain("one of busy, kernels, scan, svd, train, truncated-svd");
});
