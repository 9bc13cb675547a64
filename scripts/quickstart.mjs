// The first thing to run after a clone: scans the model in examples/, shows its heat map, selects a quarter of its
// modules, writes the files that trainers read, and fine-tunes those modules on the chat data in examples/. Every step
// is the command line itself. Needs a build; what follows on its own command line goes to spectrum train (--steps 5).
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const cli = fileURLToPath(new URL("../dist/src/cli.js", import.meta.url));
const model = "examples/wordnet-llama-2m";
const out = "quickstart";
const began = performance.now();

process.chdir(root);
if (!existsSync(cli)) fail(`${relative(root, cli)} is missing: run npm run quickstart, which builds it`);
rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });

say(`1. Scan: how much of each weight matrix of ${model} is signal, and how much is noise?`);
// Without the cache, so that every run shows a real scan.
spectrum("scan", model, "--out", `${out}/results.json`, "--no-cache");

say("2. Select: the quarter of the modules of each type that carries most signal.");
spectrum(...select("axolotl"), "--model", model, "--out", `${out}/selection.yaml`);

say("3. The same modules as plain names, and the files that the original tool would write.");
quietly(...select("names"), "--model", model, "--out", `${out}/names.txt`);
quietly(...select("original"), "--model", model, "--out", `${out}/original`);

say(`4. Fine-tune: the model knows dictionary glosses and no chat. Of its modules only the selected ones learn, from 2,000
   questions and answers; 200 others are held out.`);
spectrum(
  ...["train", model, "--selection", `${out}/selection.yaml`, "--out", `${out}/run`],
  ...["--data", "examples/definitions/train.jsonl", "--eval-data", "examples/definitions/eval.jsonl"],
  ...[
    "--sequence",
    "256",
    "--batch-size",
    "4",
    "--learning-rate",
    "0.002",
    "--backend",
    "onnxruntime-cpu",
    ...process.argv.slice(2),
  ],
);

say("What it answers, before and after:");
await showAnswers([
  "What is the meaning of accordion as a noun?",
  'Define the noun "river".',
  "What is a violin?",
]);

say(`Done in ${((performance.now() - began) / 1000).toFixed(1)} s. What is in ${out}/ now:

  results.json      every module with its scores and what they were computed from; input of spectrum select
  selection.yaml    what to train: unfrozen_parameters, to be pasted into an Axolotl configuration
  names.txt         the same as parameter names, one a line, for torch: freeze everything else
  original/         what the original Spectrum tool writes: two files of scores, and its list, which
                    takes in norms, embedding and head
  run/artifacts/    ONNX graphs (training, evaluation, optimizer) that any ONNX Runtime can run, and their manifest
  run/training/     checkpoints, metrics.jsonl, TensorBoard's files
  run/model/        the trained model: safetensors, config and tokenizer, opened by any stock loader

Next, with a model of your own (a folder, or its name on the Hub):

  npx spectrum scan HuggingFaceTB/SmolLM2-135M --out results.json
  npx spectrum select results.json --top-percent 25 --out selection.yaml
  npx spectrum train HuggingFaceTB/SmolLM2-135M --selection selection.yaml --data chat.jsonl --out run`);

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

/** Greedy answers of the artifacts, and of the newest checkpoint trained from them. @param {string[]} questions */
async function showAnswers(questions) {
  const { answer } = await import("../dist/src/index.js");
  const options = {
    conversations: questions.map((content) => [{ role: "user", content }]),
    maxTokens: 32,
    backend: "onnxruntime-cpu",
  };
  const before = await answer(`${out}/run/artifacts`, options);
  const after = await answer(`${out}/run/artifacts`, { ...options, checkpoint: `${out}/run/training` });
  for (const [index, question] of questions.entries()) {
    console.error(
      `  ${question}\n    before: ${before[index] || "(nothing)"}\n    after:  ${after[index]}\n`,
    );
  }
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
