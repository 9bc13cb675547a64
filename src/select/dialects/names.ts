// One exact parameter name a line, for torch or transformers by hand.
import { UsageError } from "../../errors.ts";
import type { ScanResults } from "../../snr/results.ts";
import { select } from "../select.ts";
import type { Selection } from "../selection.ts";
import type { Dialect, DialectOutput } from "./dialect.ts";
import { namingWarnings, requireWhole, trainedParameters } from "./parameters.ts";

/** The dialect `names`. */
export const names: Dialect = {
  name: "names",
  summary: "one parameter name a line, as model.named_parameters() gives them",
  output: "file",
  select,
  emit,
};

function emit(selection: Selection, results: ScanResults): DialectOutput {
  const parameters = trainedParameters(selection, results);
  requireWhole(parameters, "names");
  const broken = parameters.find(({ name }) => /[\r\n]/.test(name));
  if (broken)
    throw new UsageError(
      `The format names cannot write ${JSON.stringify(broken.name)}: it has more than one line`,
    );
  return {
    files: [{ path: "parameter_names.txt", content: parameters.map(({ name }) => `${name}\n`).join("") }],
    warnings: namingWarnings(parameters),
  };
}
