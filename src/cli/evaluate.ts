// spectrum evaluate: loss, perplexity and token accuracy of artifacts or a model on a dataset.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkBackend, evaluate, exportArtifacts, renderEvaluation, UsageError } from "../index.ts";
import type { OptionTable } from "./arguments.ts";
import { defineCommand, EXIT } from "./command.ts";
import { fetchNamedDataset, watchPacking } from "./datasets.ts";
import { isArtifacts } from "./fine-tuning.ts";
import { MODEL_OPTIONS, openNamedModel } from "./model-options.ts";
import { DATA_OPTIONS, EXPORT_OPTIONS, readDataOptions, readExportOptions } from "./training-options.ts";

const OPTIONS = {
  ...DATA_OPTIONS,
  checkpoint: {
    kind: "text",
    value: "DIR",
    help: "Of artifacts: a checkpoint, or RUN/training for the newest",
  },
  "chat-template": EXPORT_OPTIONS["chat-template"],
  revision: MODEL_OPTIONS.revision,
  offline: MODEL_OPTIONS.offline,
  json: { kind: "flag", help: "Print the result on stdout as JSON" },
} as const satisfies OptionTable;

/** Artifacts have something that trains; which it is makes no difference to an evaluation: a small one that all families have. */
const ANY_PARAMETER = { parameterNames: ["model.norm.weight"], source: "evaluation" };

/** The command `evaluate`. */
export const evaluateCommand = defineCommand({
  name: "evaluate",
  summary: "Measure loss, perplexity and token accuracy on a dataset",
  positionals: ["DIR-or-MODEL"],
  options: OPTIONS,
  examples: [
    "spectrum evaluate run/model --data held-out.jsonl",
    "spectrum evaluate artifacts --checkpoint run/training --data held-out.jsonl --json",
  ],
  async run({ positionals: [id], options }, { terminal, signal }) {
    const { data, checkpoint } = options;
    if (data === undefined) throw new UsageError("There is nothing to evaluate on: give --data FILE");
    await checkBackend(options.backend ?? "auto", { capability: "session" });
    await fetchNamedDataset(data, options, { terminal, signal });
    const work = await mkdtemp(join(tmpdir(), "spectrum-evaluate-"));
    try {
      let artifacts = id;
      if (await isArtifacts(id)) {
        if (options["chat-template"] !== undefined)
          throw new UsageError(`${id} holds artifacts, in which --chat-template is fixed`);
      } else {
        if (checkpoint !== undefined)
          throw new UsageError(`--checkpoint is of artifacts, and ${id} is a model`);
        artifacts = join(work, "artifacts");
        await using model = await openNamedModel(id, { ...options, stream: false }, { terminal, signal });
        await exportArtifacts(model, ANY_PARAMETER, {
          out: artifacts,
          signal,
          ...readExportOptions(options),
        });
      }
      const evaluation = await evaluate(artifacts, {
        ...readDataOptions(options),
        data,
        folder: join(work, "data"),
        ...(checkpoint !== undefined && { checkpoint }),
        onNote: (note) => terminal.print(note),
        ...watchPacking(terminal),
        signal,
      });
      terminal.print(renderEvaluation(evaluation));
      if (options.json) await terminal.printDocument(evaluation);
      return EXIT.done;
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  },
});
