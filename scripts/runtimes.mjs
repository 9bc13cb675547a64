// Installs the packed package into an empty project and runs one SDK script there on Node, Bun and Deno: each must
// print the same selection. Bun and Deno come from npm, at the versions below.
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const RUNTIMES = [
  { name: `Node ${process.version}`, command: [process.execPath] },
  { name: "Bun 1.4.5", command: ["npx", "--yes", "bun@1.4.5", "run"] },
  { name: "Deno 2.9.6", command: ["npx", "--yes", "deno@2.9.6", "run", "--quiet", "--allow-all"] },
];

const root = fileURLToPath(new URL("..", import.meta.url));
const project = mkdtempSync(join(tmpdir(), "spectrum-runtimes-"));
try {
  const [packed] = JSON.parse(
    run(["npm", "pack", "--json", "--ignore-scripts", "--pack-destination", project], root),
  );
  writeFileSync(join(project, "package.json"), JSON.stringify({ private: true, type: "module" }));
  run(
    ["npm", "install", "--no-audit", "--no-fund", "--prefer-offline", join(project, packed.filename)],
    project,
  );
  cpSync(join(root, "examples/scan-and-select.mjs"), join(project, "script.mjs"));

  const outputs = RUNTIMES.map(({ name, command }) => {
    const begin = performance.now();
    const output = run([...command, "script.mjs", join(root, "examples/wordnet-llama-2m")], project);
    const names = output.trim().split("\n");
    console.log(
      `${name}: ${names.length} parameters selected, ${((performance.now() - begin) / 1000).toFixed(1)} s`,
    );
    return output;
  });
  const different = RUNTIMES.filter((_, index) => outputs[index] !== outputs[0] || outputs[index] === "");
  if (different.length > 0) {
    throw new Error(`${different.map(({ name }) => name).join(", ")} selected other parameters than Node`);
  }
  console.log("All runtimes select the same parameters.");
} finally {
  rmSync(project, { recursive: true, force: true });
}

/** Standard output of a command that ends well; each with an empty cache of scores, so that each runtime computes. */
function run([file, ...args], cwd) {
  const env = { ...process.env, SPECTRUM_CACHE: mkdtempSync(join(project, "cache-")) };
  const { status, stdout, stderr, error } = spawnSync(file, args, { cwd, env, encoding: "utf8" });
  if (status !== 0) throw new Error(`${file} ${args.join(" ")} failed: ${error?.message ?? stderr}`);
  return stdout;
}
