// Axolotl's `unfrozen_parameters`, which is this project's selection file too. Axolotl applies `re.match` with dots
// literal (unless followed by "+"), and `[a:b]` behind a pattern limits it to these rows of the first axis.
import type { ScanResults } from "../../snr/results.ts";
import { checkPatterns } from "../names.ts";
import { select } from "../select.ts";
import type { Selection } from "../selection.ts";
import type { Dialect, DialectOutput } from "./dialect.ts";
import {
  allParameterNames,
  comment,
  listByType,
  namingWarnings,
  provenance,
  type TrainedParameter,
  trainedParameters,
} from "./parameters.ts";

/** The dialect `axolotl`. */
export const axolotl: Dialect = {
  name: "axolotl",
  summary: "YAML for Axolotl (unfrozen_parameters); the selection file that this tool reads back",
  output: "file",
  select,
  emit,
};

function emit(selection: Selection, results: ScanResults): DialectOutput {
  const parameters = trainedParameters(selection, results);
  checkPatterns(
    parameters.map(({ name }) => ({ pattern: pattern(name), parameter: name })),
    allParameterNames(results),
    "literal",
  );
  const ranges = parameters.some(({ rows }) => rows !== null)
    ? [
        comment(
          "[a:b] limits training to these experts; the others get no gradient, but weight decay moves them.",
        ),
      ]
    : [];
  const lines = [
    ...provenance(selection),
    ...ranges,
    "unfrozen_parameters:",
    ...listByType(parameters, entries),
  ];
  return {
    files: [{ path: "unfrozen_parameters.yaml", content: `${lines.join("\n")}\n` }],
    warnings: namingWarnings(parameters),
  };
}

function pattern(name: string): string {
  return `^${name}$`;
}

function entries({ name, rows }: TrainedParameter): readonly string[] {
  if (rows === null) return [pattern(name)];
  return rows.map(([begin, end]) => `${pattern(name)}[${begin}:${end}]`);
}
