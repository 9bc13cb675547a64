// The options of every command that computes.
import type { OptionTable } from "./arguments.ts";

/** Which backend computes, and on how many threads. */
export const BACKEND_OPTIONS = {
  backend: { kind: "text", value: "NAME", help: "auto (default), or one of spectrum doctor's" },
  threads: {
    kind: "number",
    value: "N",
    least: 1,
    whole: true,
    help: "Threads in all (default: all processors)",
  },
} as const satisfies OptionTable;
