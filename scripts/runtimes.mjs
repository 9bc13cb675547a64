// Runs one SDK script, in a project that has the packed package installed, on Node, Bun and Deno: each must print the
// same selection. Bun and Deno come from npm, at the versions below.
import { cpSync, mkdtempSync } from "node:fs";
import { join } from "node:path";
import { createPackedProject, ROOT, run } from "./packed-project.mjs";

const RUNTIMES = [
  { name: `Node ${process.version}`, command: [process.execPath] },
  { name: "Bun 1.4.5", command: ["npx", "--yes", "bun@1.4.5", "run"] },
  { name: "Deno 2.9.6", command: ["npx", "--yes", "deno@2.9.6", "run", "--quiet", "--allow-all"] },
];

const project = createPackedProject();
try {
  cpSync(join(ROOT, "examples/scan-and-select.mjs"), join(project.folder, "script.mjs"));
  const outputs = RUNTIMES.map(({ name, command: [file, ...args] }) => {
    const begin = performance.now();
    // A cache of scores of its own, so that each runtime computes them.
    const env = { SPECTRUM_CACHE: mkdtempSync(join(project.folder, "cache-")) };
    const model = join(ROOT, "examples/wordnet-llama-2m");
    const output = run(file, [...args, "script.mjs", model], { cwd: project.folder, env });
    const seconds = ((performance.now() - begin) / 1000).toFixed(1);
    console.log(`${name}: ${output.split("\n").length - 1} parameters selected, ${seconds} s`);
    return output;
  });
  const others = RUNTIMES.filter((_, index) => outputs[index] !== outputs[0]).map(({ name }) => name);
  if (others.length > 0) throw new Error(`${others.join(" and ")} selected other parameters than Node`);
  if (outputs[0] === "") throw new Error("Nothing was selected");
  console.log("All runtimes select the same parameters.");
} finally {
  project.remove();
}
