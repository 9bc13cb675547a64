// The whole first half in one script: open a model, score its modules, choose the quarter with the most signal.
// Runs unchanged on Node, Bun and Deno:  node scan-and-select.mjs path/to/model
import { openModel, scan, select } from "spectrum-tune";

const [id = "HuggingFaceTB/SmolLM2-135M"] = process.argv.slice(2);
const model = await openModel(id);
const results = await scan(model, {
  onProgress: ({ modulesDone, modulesTotal }) => console.error(`${modulesDone} of ${modulesTotal}`),
});
await model.close();

const selection = select(results, { topPercent: 25 });
for (const name of selection.parameterNames) console.log(name);
