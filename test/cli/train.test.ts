import { existsSync } from "node:fs";
import { cp, mkdtemp, readFile, rename, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { openModel } from "../../src/index.ts";
import { writeSafetensors } from "../../src/safetensors/writer.ts";
import { ROOT, type Run, spectrum } from "./run.ts";

const MODEL = "examples/wordnet-llama-2m";
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

  it("train lowers the loss of what it trains on, saves a model, and evaluate measures the same of it", async () => {
    const out = join(folder, "run");
    const data = ["--data", chat, "--eval-data", chat, ...DATA];
    const options = ["--steps", "12", "--learning-rate", "3e-3", "--out", out, "--json"];
    const { code, stdout } = await spectrum(["train", artifacts, ...data, ...options]);
    expect(code).toBe(0);
    const { before, last } = JSON.parse(stdout);
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
    const saved = [
      "evaluate",
      join(out, "model"),
      "--chat-template",
      "model",
      "--data",
      chat,
      ...DATA,
      "--json",
    ];
    const ofModel = JSON.parse((await spectrum(saved)).stdout);
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

  it("train of a model looks for what would stop it before it scans", async () => {
    const out = join(folder, "early");
    const missing = await spectrum(["train", MODEL, "--data", "nowhere.jsonl", "--out", out]);
    expect([missing.code, missing.stderr]).toEqual([
      1,
      "spectrum: There is no file or folder nowhere.jsonl\n",
    ]);
    const family = ["train", "test/fixtures/models/gpt2", "--data", chat, "--out", out];
    const unsupported = await spectrum(family);
    expect([unsupported.code, unsupported.stderr]).toEqual([2, expect.stringContaining('"gpt2"')]);
    const onModel = ["train", MODEL, "--data", chat, "--out", out];
    for (const wrong of [
      ["--epochs", "1", "--steps", "1"],
      ["--top-percent", "200"],
      ["--compute-dtype", "bfloat16", "--backend", "onnxruntime-cpu"],
    ]) {
      const { code, stderr } = await spectrum([...onModel, ...wrong]);
      expect([code, stderr]).toEqual([2, expect.not.stringContaining("auto took")]);
    }
    expect(existsSync(out)).toBe(false);
  });

  it("train refuses to begin where a run is, and to resume with another model, selection or order", async () => {
    const out = join(folder, "again");
    const args = ["train", MODEL, "--data", chat, ...DATA, "--steps", "1", "--out", out];
    const first = await spectrum([...args, "--selection", selection]);
    expect(first.code).toBe(0);
    for (const [more, sentence] of [
      [[], "it holds one already"],
      [["--resume", "--top-percent", "50"], "with the selection top 50 %"],
      [["--resume", "--chat-template", "model"], "was made with chatml"],
      [["--resume", "--compute-dtype", "float16"], "was made with float32"],
      [["--resume", "--recompute", "layers"], "was made with none"],
      [["--resume", "--seed", "5"], "trained with seed 0, got 5"],
      [["--resume", "--train-on", "all"], "trained with data"],
    ] as const) {
      const { code, stderr } = await spectrum([...args, ...more]);
      expect([code, stderr]).toEqual([2, expect.stringContaining(sentence)]);
      expect(stderr).not.toContain("Selected");
    }
    const other = ["train", "test/fixtures/models/llama", ...args.slice(2), "--resume"];
    expect((await spectrum(other)).stderr).toContain("with the model test/fixtures/models/llama");
    const late = await spectrum(["train", artifacts, "--data", chat, "--chat-template", "model"]);
    expect(late.stderr).toContain("in which --chat-template is fixed");
    const dtype = await spectrum(["train", artifacts, "--data", chat, "--compute-dtype", "float16"]);
    expect(dtype.stderr).toContain("in which --compute-dtype is fixed");
  });

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
  ])("%j is refused in one sentence", async (args, sentence) => {
    const { code, stdout, stderr } = await spectrum(args);
    expect(code).toBeGreaterThan(0);
    expect(stdout).toBe("");
    expect(stderr).toContain(sentence);
    expect(stderr).not.toMatch(/^ {4}at /m);
  });
});
