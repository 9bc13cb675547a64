// The project's benchmark: `npm run bench` and `bun bench` run its main parts in turn, and any part when it is named.
//
//   npm run bench                          the main parts
//   npm run bench -- --quick               all of them, small, within a minute; `bun bench --quick` is the same
//   npm run bench -- svd --shape 4096x4096 one part, with its own flags
//   npm run bench -- svd --help            what a part measures, and its flags
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** In the order in which they run. */
const MAIN_PARTS = ["svd", "scan", "busy", "train"];
const ENDING = ".bench.js";

const parts = readdirSync(import.meta.dirname)
  .filter((name) => name.endsWith(ENDING))
  .map((name) => name.slice(0, -ENDING.length));
const [first, ...rest] = process.argv.slice(2);
const named = parts.find((part) => part === first);
const flags = named === undefined ? process.argv.slice(2) : rest;
if (flags.includes("--help")) {
  console.log(headerOf(named === undefined ? import.meta.filename : scriptOf(named)));
  process.exit();
}
if (named === undefined && flags.some((flag) => flag !== "--quick")) {
  console.error(
    `Cannot run the benchmark with ${flags.join(" ")}: name its part first, one of ${parts.join(", ")}; without a name it takes --quick alone`,
  );
  process.exit(2);
}
for (const part of named === undefined ? MAIN_PARTS : [named]) {
  const { status, error } = spawnSync(process.execPath, [scriptOf(part), ...flags], { stdio: "inherit" });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

function scriptOf(part: string): string {
  return join(import.meta.dirname, `${part}${ENDING}`);
}

/** The comment that a file began with before it was compiled, which puts code of its own in front of some. */
function headerOf(path: string): string {
  const [header = ""] = /^(?:\/\/.*\n)+/m.exec(readFileSync(path, "utf8")) ?? [];
  return header.replace(/^\/\/ ?/gm, "").trimEnd();
}
