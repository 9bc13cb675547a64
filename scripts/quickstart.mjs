// The first thing to run after a clone: scans the model in examples/, shows its heat map, selects a quarter of its
// modules and writes the files that trainers read. Every step is the command line itself. Needs a build.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const cli = fileURLToPath(new URL("../dist/src/cli.js", import.meta.url));
const model = "examples/wordnet-llama-2m";
const out = "quickstart";
const began = performance.now();

process.chdir(root);
if (!existsSync(cli)) fail(`${relative(root, cli)} is missing: run npm run quickstart, which builds it`);
mkdirSync(out, { recursive: true });

say(`1. Scan: how much of each weight matrix of ${model} is signal, and how much is noise?`);
// Without the cache, so that every run shows a real scan.
spectrum("scan", model, "--out", `${out}/results.json`, "--no-cache");

say("2. Select: the quarter of the modules of each type that carries most signal.");
spectrum(...select("axolotl"), "--model", model, "--out", `${out}/selection.yaml`);

say("3. The same modules as plain names, and the files that the original tool would write.");
quietly(...select("names"), "--model", model, "--out", `${out}/names.txt`);
quietly(...select("original"), "--model", model, "--out", `${out}/original`);

say(`Done in ${((performance.now() - began) / 1000).toFixed(1)} s. What is in ${out}/ now:

  results.json      every module with its scores and what they were computed from; input of spectrum select
  selection.yaml    what to train: unfrozen_parameters, to be pasted into an Axolotl configuration
  names.txt         the same as parameter names, one a line, for torch: freeze everything else
  original/         what the original Spectrum tool writes: two files of scores, and its list, which
                    takes in norms, embedding and head

Next, with a model of your own (a folder, or its name on the Hub):

  npx spectrum scan HuggingFaceTB/SmolLM2-135M --out results.json
  npx spectrum select results.json --top-percent 25 --out selection.yaml
  npx spectrum select --help`);

/** @param {string} format */
function select(format) {
  return ["select", `${out}/results.json`, "--top-percent", "25", "--format", format];
}

/** Runs the command line and ends this script where it fails. @param {string[]} args */
function spectrum(...args) {
  console.error(`$ spectrum ${args.join(" ")}\n`);
  const { status, error } = spawnSync(process.execPath, [cli, ...args], { stdio: "inherit" });
  if (error) fail(error.message);
  if (status !== 0) fail(`spectrum ${args[0]} ended with exit code ${status}`);
}

/** Like {@link spectrum}, but shows the output only where it fails. @param {string[]} args */
function quietly(...args) {
  console.error(`$ spectrum ${args.join(" ")}`);
  const { status, error, stderr } = spawnSync(process.execPath, [cli, ...args], { encoding: "utf8" });
  if (error) fail(error.message);
  if (status !== 0) fail(`${stderr}\nspectrum ${args[0]} ended with exit code ${status}`);
}

/** @param {string} text */
function say(text) {
  console.error(`\n${text}\n`);
}

/** @param {string} reason */
function fail(reason) {
  console.error(`\nThe quickstart failed: ${reason}.`);
  process.exit(1);
}
