// The file that TRL scripts read through `spectrum_config_path`: every line that begins with "- " is split there, and the
// rest is applied with `re.match` as it stands. So dots are escaped, and nothing may be quoted.
import type { ScanResults } from "../../snr/results.ts";
import { checkPatterns } from "../names.ts";
import { select } from "../select.ts";
import type { Selection } from "../selection.ts";
import type { Dialect, DialectOutput } from "./dialect.ts";
import {
  allParameterNames,
  listByType,
  namingWarnings,
  provenance,
  requireWhole,
  trainedParameters,
} from "./parameters.ts";

/** The dialect `trl`. */
export const trl: Dialect = {
  name: "trl",
  summary: "YAML for TRL scripts with spectrum_config_path",
  output: "file",
  select,
  emit,
};

function emit(selection: Selection, results: ScanResults): DialectOutput {
  const parameters = trainedParameters(selection, results);
  requireWhole(parameters, "trl");
  checkPatterns(
    parameters.map(({ name }) => ({ pattern: pattern(name), parameter: name })),
    allParameterNames(results),
    "any-character",
  );
  const lines = [
    ...provenance(selection),
    "unfrozen_parameters:",
    ...listByType(parameters, ({ name }) => [pattern(name)]),
  ];
  return {
    files: [{ path: "spectrum_config.yaml", content: `${lines.join("\n")}\n` }],
    warnings: namingWarnings(parameters),
  };
}

function pattern(name: string): string {
  return `^${name.replaceAll(".", "\\.")}$`;
}
