import { existsSync } from "node:fs";
import { appendFile, cp, mkdir, mkdtemp, readFile, rename, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { openModel } from "../../src/index.ts";
import { writeSafetensors } from "../../src/safetensors/writer.ts";
import { ROOT, type Run, spectrum } from "./run.ts";

const MODEL = "examples/wordnet-llama-2m";
const CHAT = "examples/definitions/eval.jsonl";
const DATA = ["--sequence", "128", "--batch-size", "2", "--backend", "onnxruntime-cpu"];
const SELECTION =
  "unfrozen_parameters:\n- ^model.layers.7.mlp.up_proj.weight$\n- ^model.layers.6.self_attn.q_proj.weight$\n";

describe("export, train and evaluate", () => {
  let folder: string;
  let chat: string;
  let selection: string;
  let artifacts: string;
  let exported: Run;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "spectrum-train-"));
    chat = join(folder, "chat.jsonl");
    const lines = (await readFile(join(ROOT, "examples/definitions/eval.jsonl"), "utf8")).split("\n");
    await writeFile(chat, `${lines.slice(0, 40).join("\n")}\n`);
    selection = join(folder, "selection.yaml");
    await writeFile(selection, SELECTION);
    artifacts = join(folder, "artifacts");
    exported = await spectrum(["export", MODEL, "--selection", selection, "--out", artifacts, "--json"]);
  });

  it("export writes artifacts in which the selection trains, and prints their manifest alone on stdout", () => {
    expect(exported.code).toBe(0);
    const manifest = JSON.parse(exported.stdout);
    const names = manifest.parameters.map(({ name }: { name: string }) => name);
    expect(names).toEqual([
      "model.layers.6.self_attn.q_proj.weight",
      "model.layers.7.mlp.up_proj.weight",
      "model.embed_tokens.weight.new_rows",
    ]);
    expect(manifest.selection.source).toBe(selection);
  });

  it("export --form ort-training says so, and train and evaluate refuse what it writes", async () => {
    const out = join(folder, "ort-training");
    const args = ["export", MODEL, "--selection", selection, "--form", "ort-training"];
    const { code, stdout, stderr } = await spectrum([...args, "--out", out, "--json"]);
    expect([code, JSON.parse(stdout).form]).toEqual([0, "ort-training"]);
    expect(stderr).toContain("for ONNX Runtime's training builds up to 1.19.2");
    expect(stderr).not.toContain("spectrum train");
    for (const command of ["train", "evaluate"]) {
      const run = await spectrum([command, out, "--data", chat]);
      expect([run.code, run.stdout]).toEqual([2, ""]);
      expect(run.stderr).toContain("it holds artifacts of the form ort-training");
    }
    const both = await spectrum([...args, "--weights", "reference", "--out", join(folder, "both")]);
    expect([both.code, both.stdout]).toEqual([2, ""]);
    expect(both.stderr).toContain("--form ort-training and --weights reference exclude each other");
  });

  it("train lowers the loss of what it trains on, saves a model, and evaluate measures the same of it", async () => {
    const out = join(folder, "run");
    const data = ["--data", chat, "--eval-data", chat, ...DATA];
    const options = ["--steps", "12", "--learning-rate", "3e-3", "--out", out, "--json"];
    const { code, stdout, stderr } = await spectrum(["train", artifacts, ...data, ...options]);
    expect(code).toBe(0);
    const { before, last, saved } = JSON.parse(stdout);
    const share = ((100 * saved.changedValues) / saved.trainedValues).toFixed(1);
    expect(stderr).toContain(`${share} % of the trained values, rounded to the stored dtype, differ`);
    expect(last.step).toBe(12);
    expect(last.evaluation.loss).toBeLessThan(0.8 * before.loss);

    const ofRun = await spectrum([
      "evaluate",
      artifacts,
      "--checkpoint",
      join(out, "training"),
      "--data",
      chat,
      ...DATA,
      "--json",
    ]);
    expect(JSON.parse(ofRun.stdout).loss).toBeCloseTo(last.evaluation.loss, 5);
    // The saved model rounds to bfloat16.
    const ofSaved = [
      "evaluate",
      join(out, "model"),
      "--chat-template",
      "model",
      "--data",
      chat,
      ...DATA,
      "--json",
    ];
    const ofModel = JSON.parse((await spectrum(ofSaved)).stdout);
    expect(Math.abs(ofModel.loss / last.evaluation.loss - 1)).toBeLessThan(0.01);
    expect(ofModel.targets).toBe(JSON.parse(ofRun.stdout).targets);
  });

  it("train stops on Ctrl-C with 130, says how to go on, and --resume ends the run", async () => {
    const out = join(folder, "interrupted");
    const args = [
      "train",
      artifacts,
      "--data",
      chat,
      ...DATA,
      "--epochs",
      "20",
      "--checkpoint-steps",
      "5",
      "--out",
      out,
    ];
    let asked = false;
    const stopped = await spectrum(args, {}, (text, kill) => {
      if (asked || !/step \d+\/\d+/.test(text)) return;
      asked = true;
      kill("SIGINT");
    });
    expect(stopped.code).toBe(130);
    expect(stopped.stderr).toContain("--resume");
    const again = await spectrum([...args, "--resume"]);
    expect(again.code).toBe(0);
    expect(existsSync(join(out, "model", "model.safetensors"))).toBe(true);
    const generation = await readFile(join(out, "model", "generation_config.json"), "utf8");
    // <|im_end|> is the second of the two new tokens.
    expect(JSON.parse(generation).eos_token_id).toEqual([0, 4097]);
  });

  it("train stops at a malformed record with its file and line, or leaves it out, says so, and goes on", async () => {
    const out = join(folder, "malformed");
    const data = join(folder, "malformed.jsonl");
    const [first, ...others] = (await readFile(chat, "utf8")).split("\n");
    await writeFile(data, [first, '{"messages": [{"role": "user"}]}', "no JSON", ...others].join("\n"));
    const args = ["train", artifacts, "--data", data, ...DATA, "--steps", "1", "--out", out];
    const stopped = await spectrum(args);
    expect(stopped.code).toBe(1);
    expect(stopped.stderr).toContain(`Cannot use the record at ${data}:2: `);
    const skip = ["--on-bad-record", "skip", "--save-dtype", "float32"];
    const skipped = await spectrum([...args, ...skip]);
    expect(skipped.code).toBe(0);
    for (const line of [2, 3]) expect(skipped.stderr).toContain(`${data}, line ${line} is left out: `);
    expect(skipped.stderr).toContain("% of the trained values, stored as float32, differ from the base's");
  });

  it("train of a model looks for what would stop it before it scans", async () => {
    const out = join(folder, "early");
    const missing = await spectrum(["train", MODEL, "--data", "nowhere.jsonl", "--out", out]);
    expect([missing.code, missing.stderr]).toEqual([
      2,
      "spectrum: There is no file or folder nowhere.jsonl\n",
    ]);
    const family = ["train", "test/fixtures/models/gpt2", "--data", chat, "--out", out];
    const unsupported = await spectrum(family);
    expect([unsupported.code, unsupported.stderr]).toEqual([2, expect.stringContaining('"gpt2"')]);
    const onModel = ["train", MODEL, "--data", chat, "--out", out];
    for (const [wrong, sentence] of [
      [["--epochs", "1", "--steps", "1"], "--epochs and --steps exclude each other"],
      [["--eval-steps", "5"], "give --eval-data FILE"],
      [["--top-percent", "200"], "expected a number above 0, up to 100"],
      [["--top-percent", "0"], "expected a number above 0, up to 100"],
      [["--learning-rate", "0"], "Cannot train with learningRate 0: expected a number above 0"],
      [["--schedule", "cosin"], '"cosin" is not allowed; name one of constant, linear, cosine, wsd, or'],
      [["--schedule", "step +"], 'Cannot use the schedule "step +"'],
      [["--backend", "wasm"], 'Cannot use the backend "wasm": it has no session'],
      [["--backend", "onxruntime"], "there is no such backend"],
      [
        ["--compute-dtype", "bfloat16", "--backend", "onnxruntime-cpu"],
        "Cannot compute in bfloat16 on the backend onnxruntime-cpu",
      ],
      [["--sequence", "100000"], `Cannot train on sequences of 100000 tokens: ${MODEL} takes at most 512`],
      [["--train-embeddings", "none"], "it has no embedding for <|im_start|>, <|im_end|>"],
      [["--chat-template", "model"], "template"],
      [["--eval-data", "nosuchdata"], '"nosuchdata": there is no such file or folder'],
    ] as const) {
      const { code, stderr } = await spectrum([...onModel, ...wrong]);
      expect([code, stderr]).toEqual([2, expect.stringContaining(sentence)]);
      // One sentence, and no scan before it.
      expect(stderr).toMatch(/^spectrum: [^\n]+\n$/);
    }
    const evaluated = await spectrum(["evaluate", MODEL, "--data", chat, "--backend", "wasm"]);
    expect([evaluated.code, evaluated.stderr]).toEqual([2, expect.stringContaining("it has no session")]);
    expect(existsSync(out)).toBe(false);
  });

  it("train refuses to begin where a run is, and to resume with another model, selection or order", async () => {
    const out = join(folder, "again");
    const args = ["train", MODEL, "--data", chat, ...DATA, "--steps", "1", "--out", out];
    const first = await spectrum([...args, "--selection", selection]);
    expect(first.code).toBe(0);
    for (const [more, sentence] of [
      [[], "resume it (--resume), or name another folder"],
      [["--resume", "--top-percent", "50"], "with the selection top 50 %"],
      [["--resume", "--chat-template", "model"], "was made with chatml"],
      [["--resume", "--compute-dtype", "float16"], "was made with float32"],
      [["--resume", "--recompute", "layers"], "was made with none"],
      [["--resume", "--seed", "5"], "trained with seed 0, got 5"],
      [["--resume", "--train-on", "all"], "trained with trainOn assistant, got all"],
      [["--resume", "--sequence", "64"], "trained with sequence 128, got 64"],
      [["--resume", "--batch-size", "1"], "trained with batchSize 2, got 1"],
      [["--resume", "--accumulation", "2"], "trained with accumulation 1, got 2"],
      [["--resume", "--steps", "2"], "trained with steps 1, got 2"],
      [["--resume", "--data", CHAT], "trained with other data"],
      [["--resume", "--train-embeddings", "all"], "Cannot resume with the trained embeddings all"],
    ] as const) {
      const { code, stderr } = await spectrum([...args, ...more]);
      expect([code, stderr]).toEqual([2, expect.stringContaining(sentence)]);
      expect(stderr).not.toContain("Selected");
    }
    await writeFile(selection, SELECTION.replace("layers.6", "layers.5"));
    const changed = await spectrum([...args, "--resume", "--selection", selection]);
    expect([changed.code, changed.stderr]).toEqual([
      2,
      expect.stringContaining(`Cannot resume with the selection ${selection}`),
    ]);
    await writeFile(selection, SELECTION);
    expect((await spectrum([...args, "--resume", "--selection", selection])).code).toBe(0);
    const other = ["train", "test/fixtures/models/llama", ...args.slice(2), "--resume"];
    expect((await spectrum(other)).stderr).toContain("with the model test/fixtures/models/llama");
    const late = await spectrum(["train", artifacts, "--data", chat, "--chat-template", "model"]);
    expect(late.stderr).toContain("in which --chat-template is fixed");
    const dtype = await spectrum(["train", artifacts, "--data", chat, "--compute-dtype", "float16"]);
    expect(dtype.stderr).toContain("in which --compute-dtype is fixed");
  });

  it("train saves from another working directory than the export's, and resumes by other paths to the same", async () => {
    const elsewhere = join(folder, "elsewhere");
    await mkdir(elsewhere);
    const options = ["--data", "../chat.jsonl", ...DATA, "--steps", "1"];
    const there = (args: readonly string[]) => spectrum(args, {}, undefined, elsewhere);
    const first = await there(["train", "../artifacts", ...options, "--out", "of-artifacts"]);
    expect([first.code, first.stderr]).toEqual([0, expect.stringContaining("Saved the model")]);

    const run = ["--data", chat, ...DATA, "--steps", "1", "--out", join(folder, "paths")];
    const begun = await spectrum(["train", MODEL, "--selection", selection, ...run]);
    expect(begun.code).toBe(0);
    await cp(selection, join(elsewhere, "moved.yaml"));
    const again = ["train", join(ROOT, MODEL), "--selection", "moved.yaml", ...run, "--resume"];
    expect((await there(again)).code).toBe(0);
  });

  it("train looks for the base model of artifacts before it trains", async () => {
    const model = join(folder, "base");
    await cp(join(ROOT, MODEL), model, { recursive: true });
    const copied = join(folder, "copied");
    const args = ["export", model, "--selection", selection, "--weights", "copy", "--out", copied];
    expect((await spectrum(args)).code).toBe(0);
    const train = [
      "train",
      copied,
      "--data",
      chat,
      ...DATA,
      "--steps",
      "1",
      "--out",
      join(folder, "baseless"),
    ];
    await appendFile(join(model, "model.safetensors"), "x");
    const changed = await spectrum(train);
    expect([changed.code, changed.stderr]).toEqual([1, expect.stringMatching(/^spectrum: [^\n]+\n$/)]);
    await rename(model, join(folder, "moved"));
    const gone = await spectrum(train);
    expect([gone.code, gone.stderr]).toEqual([
      2,
      expect.stringMatching(
        `^spectrum: Cannot open the base model of ${copied}: Cannot open ${model}: there is no such folder[^\n]*\n$`,
      ),
    ]);
  });

  it("train --offline takes a Hub model from the cache alone, when it saves as well", async () => {
    const commit = "0123456789abcdef0123456789abcdef01234567";
    const repo = join(folder, "hub", "models--acme--tiny");
    await cp(join(ROOT, MODEL), join(repo, "snapshots", commit), { recursive: true });
    await mkdir(join(repo, "refs"));
    await writeFile(join(repo, "refs", "main"), commit);
    const options = ["--data", chat, ...DATA, "--steps", "1", "--out", join(folder, "offline")];
    const { code, stderr } = await spectrum(
      ["train", "acme/tiny", "--offline", "--selection", selection, ...options],
      { HF_HUB_CACHE: join(folder, "hub") },
    );
    expect([code, stderr]).toEqual([0, expect.stringContaining("Saved the model")]);
  }, 120_000);

  it("train takes --compute-dtype and --recompute to the artifacts, which train in float16", async () => {
    const out = join(folder, "half");
    const kind = ["--compute-dtype", "float16", "--recompute", "layers"];
    const options = ["--selection", selection, "--steps", "12", "--learning-rate", "3e-3", "--out", out];
    const args = [
      "train",
      MODEL,
      "--data",
      chat,
      "--eval-data",
      chat,
      ...DATA,
      ...options,
      ...kind,
      "--json",
    ];
    const { code, stdout } = await spectrum(args);
    expect(code).toBe(0);
    const { before, last } = JSON.parse(stdout);
    expect(last.evaluation.loss).toBeLessThan(0.8 * before.loss);
    const manifest = JSON.parse(await readFile(join(out, "artifacts", "manifest.json"), "utf8"));
    expect([manifest.computeDtype, manifest.recompute]).toEqual(["float16", "layers"]);
  });

  it("evaluate says that there is no such checkpoint, and where one is", async () => {
    const of = (checkpoint: string) =>
      spectrum(["evaluate", artifacts, "--checkpoint", checkpoint, "--data", chat, ...DATA]);
    const nowhere = await of("nowhere");
    expect([nowhere.code, nowhere.stderr]).toEqual([
      2,
      "spectrum: Cannot use the checkpoint nowhere: expected a folder that holds trainer_state.json or checkpoint-<step>\n",
    ]);
    // The run of the command line, of which train made a folder above.
    const run = join(folder, "run");
    expect((await of(run)).stderr).toContain(`there is one in ${join(run, "training")}`);
  });

  it("evaluate takes a model whose checkpoint holds a small tensor that is no parameter", async () => {
    const model = join(folder, "buffer");
    await cp(join(ROOT, MODEL), model, { recursive: true });
    const buffer = "model.layers.0.self_attn.rotary_emb.inv_freq";
    await writeSafetensors(join(model, "model-extra.safetensors"), [
      { name: buffer, dtype: "F32", shape: [1], blocks: [new Uint8Array(4)] },
    ]);
    const { tensors, close } = await openModel(join(ROOT, MODEL));
    await close();
    const places = [...tensors.keys()].map((name) => [name, "model.safetensors"] as const);
    const index = { weight_map: Object.fromEntries([...places, [buffer, "model-extra.safetensors"]]) };
    await rename(join(model, "model.safetensors"), join(model, "model-base.safetensors"));
    for (const [name] of places) index.weight_map[name] = "model-base.safetensors";
    await writeFile(join(model, "model.safetensors.index.json"), JSON.stringify(index));
    const { code, stdout } = await spectrum(["evaluate", model, "--data", chat, ...DATA, "--json"]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout).loss).toBeGreaterThan(1);
  });

  it.each([
    [["train", MODEL], "give --data FILE"],
    [["evaluate", MODEL], "give --data FILE"],
    [["evaluate", MODEL, "--data", "nowhere.jsonl"], "nowhere.jsonl"],
    [["export", MODEL], "give --selection FILE"],
    [
      ["export", "nosuchfolder", "--selection", "x"],
      '"nosuchfolder": there is no such folder, and a model on the Hub',
    ],
    [
      ["evaluate", "nosuchfolder", "--data", CHAT],
      '"nosuchfolder": there is no such folder, and a model on the Hub',
    ],
    [["train", "no/such/folder", "--data", CHAT], '"no/such/folder": there is no such folder'],
    [
      ["train", MODEL, "--data", "nosuchdata", "--selection", "x", "--top-percent", "5"],
      "--selection and --top-percent exclude each other",
    ],
    [
      ["train", MODEL, "--data", "nosuchdata"],
      '"nosuchdata": there is no such file or folder, and a dataset',
    ],
    [
      ["train", MODEL, "--data", CHAT, "--eval-data", "data/none.jsonl"],
      "There is no file or folder data/none.jsonl",
    ],
    [["evaluate", MODEL, "--data", CHAT, "--checkpoint", "nowhere"], "--checkpoint is of artifacts"],
  ])("%j is refused in one sentence", async (args, sentence) => {
    const { code, stdout, stderr } = await spectrum(args);
    expect(code).toBeGreaterThan(0);
    expect(stdout).toBe("");
    expect(stderr).toContain(sentence);
    expect(stderr).not.toMatch(/^ {4}at /m);
  });
});
