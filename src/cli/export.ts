// spectrum export: writes the training artifacts of a model, in which only the selected modules learn.
import { exportArtifacts, UsageError } from "../index.ts";
import type { OptionTable } from "./arguments.ts";
import { defineCommand, EXIT, quote } from "./command.ts";
import { describeArtifacts, readSelectedParameters } from "./fine-tuning.ts";
import { MODEL_OPTIONS, openNamedModel } from "./model-options.ts";
import { EXPORT_OPTIONS, readExportOptions } from "./training-options.ts";

const OPTIONS = {
  selection: { kind: "text", value: "FILE", help: "Required: what spectrum select wrote" },
  out: { kind: "text", value: "DIR", short: "o", help: "Folder to write (default artifacts)" },
  ...EXPORT_OPTIONS,
  weights: {
    kind: "choice",
    choices: ["reference", "copy"],
    help: "Leave frozen weights where they are (default), or copy",
  },
  form: {
    kind: "choice",
    choices: ["standard", "ort-training"],
    help: "For any ONNX Runtime (default), or its training builds up to 1.19.2",
  },
  revision: MODEL_OPTIONS.revision,
  offline: MODEL_OPTIONS.offline,
  json: { kind: "flag", help: "Print the manifest on stdout as JSON" },
} as const satisfies OptionTable;

/** The command `export`. */
export const exportCommand = defineCommand({
  name: "export",
  summary: "Write training artifacts in which only the selected modules learn",
  positionals: ["MODEL"],
  options: OPTIONS,
  examples: [
    "spectrum export HuggingFaceTB/SmolLM2-135M --selection selection.yaml --out artifacts",
    "spectrum export ./my-model --selection selection.yaml --weights copy --out artifacts",
  ],
  async run({ positionals: [id], options }, { terminal, signal }) {
    const { out = "artifacts", weights, form } = options;
    if (form === "ort-training" && weights === "reference")
      throw new UsageError(
        "--form ort-training and --weights reference exclude each other: that form's checkpoint holds a copy of all weights",
      );
    await using model = await openNamedModel(id, { ...options, stream: false }, { terminal, signal });
    const selection = await readSelectedParameters(options.selection, model);
    const { folder, manifest } = await exportArtifacts(model, selection, {
      out,
      signal,
      ...readExportOptions(options),
      ...(weights !== undefined && { weights }),
      ...(form !== undefined && { form }),
    });
    terminal.print(describeArtifacts(manifest));
    terminal.print(
      manifest.form === "standard"
        ? `\nWrote ${folder}. Next:\n  spectrum train ${quote(out)} --data chat.jsonl --out run`
        : `\nWrote ${folder}, for ONNX Runtime's training builds up to 1.19.2.`,
    );
    if (options.json) await terminal.printDocument(manifest);
    return EXIT.done;
  },
});
