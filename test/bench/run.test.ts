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

it("a part says in one sentence what is wrong with its flags, and ends with 2", () => {
  for (const [args, sentence] of [
    [["svd", "--rounds", "few"], '--rounds takes a whole number from 1 up, got "few"'],
    [["svd", "--shap", "5x5"], "Unknown option --shap; did you mean --shape?"],
    [
      ["svd", "--shape", "5x0"],
      /^Cannot measure the shape "5x0": expected ROWSxCOLUMNS, or one of SmolLM.*$/,
    ],
    [["svd", "--compare", "no-such.json"], /^Cannot compare with no-such\.json: .*no such file.*$/],
    [["scan", "--rounds", "0"], '--rounds takes a whole number from 1 up, got "0"'],
    [["busy", "--backend", "nothing"], /^Cannot use the backend "nothing": there is no such backend; .*$/],
    [["train", "--model", "3m"], '--model takes one of 2m, 135m, got "3m"; did you mean 2m?'],
    [["truncated-svd", "5"], 'Expected options alone, got also "5"'],
    [["kernels", "576", "--orders"], 'Cannot measure the order "--orders": expected whole numbers from 1 up'],
  ] as const) {
    const { status, stdout, stderr } = bench(...args);
    expect({ status, stdout, stderr: stderr.trimEnd() }).toEqual({
      status: 2,
      stdout: "",
      stderr: typeof sentence === "string" ? sentence : expect.stringMatching(sentence),
    });
  }
});

it("bench names its parts where it is asked for another", () => {
  const { status, stderr } = bench("nothing");
  expect(status).toBe(2);
  expect(stderr).toContain("one of busy, kernels, scan, svd, train, truncated-svd");
});
