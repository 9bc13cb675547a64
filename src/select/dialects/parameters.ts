// The parameters that a selection trains, grouped for the dialects that list them: what is common to all of these.
import { UsageError } from "../../errors.ts";
import type { ScanResults } from "../../snr/results.ts";
import { parameterNaming, tensorNames } from "../parameter-names.ts";
import type { Selection } from "../selection.ts";

/** A parameter that trains, whole or in rows of its first axis. */
export interface TrainedParameter {
  /** As transformers names it. */
  readonly name: string;
  readonly type: string;
  /** Half-open ranges along the first axis, ascending and apart; null when all of it trains. */
  readonly rows: readonly (readonly [begin: number, end: number])[] | null;
}

/** The parameters that train, by type, types in order of their names, parameters in the order of the selection. */
export function trainedParameters(selection: Selection, results: ScanResults): readonly TrainedParameter[] {
  const naming = parameterNaming(tensorNames(results));
  const parameters = new Map<string, TrainedParameter>();
  for (const { tensor, bias, type, expert } of selection.modules) {
    if (parameters.has(tensor)) continue;
    // The bias of fused experts has one row for each, as their weight has.
    const rows = expert === null ? null : selectedExperts(tensor, selection, results);
    parameters.set(tensor, { name: naming(tensor), type, rows });
    if (bias !== null) parameters.set(bias, { name: naming(bias), type, rows });
  }
  return [...parameters.values()].toSorted((a, b) => (a.type === b.type ? 0 : a.type < b.type ? -1 : 1));
}

/** The names of all parameters the results know of, as transformers names them. */
export function allParameterNames(results: ScanResults): ReadonlySet<string> {
  const tensors = tensorNames(results);
  const naming = parameterNaming(tensors);
  return new Set([...tensors].map(naming));
}

function selectedExperts(
  tensor: string,
  selection: Selection,
  results: ScanResults,
): readonly (readonly [number, number])[] | null {
  const experts = selection.modules.filter((module) => module.tensor === tensor);
  if (experts.length === results.modules.filter((module) => module.tensor === tensor).length) return null;
  const ranges: [number, number][] = [];
  for (const expert of experts.map((module) => module.expert ?? 0).toSorted((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last && last[1] === expert) last[1] = expert + 1;
    else ranges.push([expert, expert + 1]);
  }
  return ranges;
}

/** @throws UsageError when a parameter trains in part: most dialects can only name whole ones. */
export function requireWhole(parameters: readonly TrainedParameter[], dialect: string): void {
  const part = parameters.find((parameter) => parameter.rows !== null);
  if (part === undefined) return;
  throw new UsageError(
    `The format ${dialect} cannot select single experts of the fused parameter ${part.name}: use the format axolotl, or exclude it`,
  );
}

/** Comment lines that say where a selection comes from; no dates, so that the same selection gives the same bytes. */
export function provenance(selection: Selection): readonly string[] {
  const { model, parameters } = selection;
  const revision = model.revision === null ? "" : `, revision ${model.revision}`;
  const share =
    parameters.share === null
      ? "an unknown share of the parameters"
      : `${(parameters.share * 100).toFixed(2)} % of the parameters (${parameters.trainable} of ${parameters.total})`;
  return [
    comment(`What to train of ${model.id}${revision}, selected by spectrum-tune:`),
    comment(
      `top ${selection.topPercent} %, ${selection.strategy}, by the ${selection.estimator} score; ${share}.`,
    ),
  ];
}

/** A YAML comment; characters that could end it, or that do not print, become `?`. */
export function comment(text: string): string {
  return `# ${text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\uFFFE\uFFFF]/gu, "?")}`;
}

/** A list of YAML with a comment before each type. */
export function listByType(
  parameters: readonly TrainedParameter[],
  entries: (parameter: TrainedParameter) => readonly string[],
): readonly string[] {
  const lines: string[] = [];
  let type: string | null = null;
  for (const parameter of parameters) {
    if (parameter.type !== type) lines.push(comment(parameter.type));
    type = parameter.type;
    lines.push(...entries(parameter).map((entry) => `- ${entry}`));
  }
  return lines;
}

/** Parameters of mixtures of experts that transformers renames and fuses when it loads them, from version 5 on. */
const FUSED_IN_5 = /\.experts\.[0-9]+\.|\.block_sparse_moe\./;

/** The head of GPT-NeoX, which transformers has as `lm_head` from version 5 on. */
const RENAMED_IN_5 = /^embed_out\./;

/** Warnings about names that depend on the version of transformers that loads the model. */
export function namingWarnings(parameters: readonly Pick<TrainedParameter, "name">[]): readonly string[] {
  const named = (pattern: RegExp) => parameters.map(({ name }) => name).filter((name) => pattern.test(name));
  const warnings = named(RENAMED_IN_5).map(
    (name) =>
      `${name} is the checkpoint's name, as transformers 4 keeps it; transformers 5 calls the head of GPT-NeoX ${name.replace(RENAMED_IN_5, "lm_head.")}, which this name does not match`,
  );
  const fused = named(FUSED_IN_5);
  if (fused.length > 0)
    warnings.push(
      `${fused.length} names of experts are the checkpoint's, as transformers 4 keeps them; transformers 5 fuses the experts of a layer into one parameter, which these names do not match; the first is ${fused[0]}`,
    );
  return warnings;
}
