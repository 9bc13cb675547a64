// The project's benchmark: `npm run bench` and `bun bench` run all parts in turn, and one when it is named.
//
//   npm run bench                          all of them
//   npm run bench -- --quick               all of them, small, within a minute; `bun bench --quick` is the same
//   npm run bench -- svd --shape 4096x4096 one of them, with its own flags: see the header of its file
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

/** In the order in which they run. */
const PARTS = ["svd", "scan", "busy", "train"] as const;

const [first = "--", ...rest] = process.argv.slice(2);
const named = PARTS.find((part) => part === first);
const flags = named === undefined ? process.argv.slice(2) : rest;
if (named === undefined && flags.some((flag) => flag !== "--quick")) {
  console.error(
    `Cannot run the benchmark with ${flags.join(" ")}: name its part first, one of ${PARTS.join(", ")}; all of them take --quick alone`,
  );
  process.exit(2);
}
for (const part of named === undefined ? PARTS : [named]) {
  const script = fileURLToPath(new URL(`./${part}.bench.js`, import.meta.url));
  const { status, error } = spawnSync(process.execPath, [script, ...flags], { stdio: "inherit" });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}
