// How the learning rate goes over a run: named schedules with a linear warm-up, or an expression of one's own.
import type { ConstantNode, FunctionNode, MathNode, OperatorNode, SymbolNode } from "mathjs";
import { UsageError } from "../errors.ts";

/** Factor on the learning rate for the update after `step` updates. */
export type Schedule = (step: number) => number;

/** Length of a run, in updates. */
export interface ScheduleLength {
  readonly steps: number;
  readonly warmup: number;
}

/** The named schedules. After the warm-up, `progress` goes from 0 towards 1. */
const SHAPES = {
  constant: () => 1,
  linear: (progress) => 1 - progress,
  cosine: (progress) => 0.5 * (1 + Math.cos(Math.PI * progress)),
  // Warm-up, stable, decay: Hu et al., "MiniCPM" (2024). The last tenth of what follows the warm-up falls linearly.
  wsd: (progress) => Math.min(1, (1 - progress) / 0.1),
} as const satisfies Record<string, (progress: number) => number>;

/** Name of a schedule. */
export type ScheduleName = keyof typeof SHAPES;

/** The names, in the order in which they are shown. */
export const SCHEDULE_NAMES: readonly ScheduleName[] = Object.freeze(
  Object.keys(SHAPES).filter(isScheduleName),
);

function isScheduleName(name: string): name is ScheduleName {
  return Object.hasOwn(SHAPES, name);
}

/**
 * A schedule by its name, or by a mathjs expression of `step` (updates made so far), `steps` and `warmup`.
 *
 * A named one rises over the warm-up, never from 0: (step + 1) / (warmup + 1). An expression is the whole factor.
 *
 * @example
 * const half = await createSchedule("0.5 ^ (step / steps)", { steps: 100, warmup: 0 });
 *
 * @throws UsageError for an expression that cannot be computed, or is negative or not finite at some step.
 */
export async function createSchedule(text: string, length: ScheduleLength): Promise<Schedule> {
  const { steps, warmup } = length;
  if (!isScheduleName(text)) return expressionSchedule(text, length);
  const shape = SHAPES[text];
  return (step) => {
    if (step < warmup) return (step + 1) / (warmup + 1);
    return shape(Math.min(1, (step - warmup) / Math.max(1, steps - warmup)));
  };
}

/**
 * Checks the text of a schedule before the length of the run is known.
 *
 * @throws UsageError for an expression that cannot be computed.
 */
export async function checkSchedule(text: string): Promise<void> {
  if (!isScheduleName(text)) await compile(text);
}

const MAX_EXPRESSION_LENGTH = 1000;
const MAX_NODES = 200;
const VARIABLES: ReadonlySet<string> = new Set(["step", "steps", "warmup", "pi", "e"]);
const OPERATORS: ReadonlySet<string> = new Set(
  "add subtract multiply divide mod pow unaryMinus unaryPlus smaller larger smallerEq largerEq equal unequal and or not".split(
    " ",
  ),
);
const FUNCTIONS: ReadonlySet<string> = new Set(
  "abs ceil cos cosh exp expm1 floor log log10 log1p log2 max min mod pow round sign sin sinh sqrt square tan tanh".split(
    " ",
  ),
);

async function expressionSchedule(text: string, { steps, warmup }: ScheduleLength): Promise<Schedule> {
  const evaluate = await compile(text);
  const schedule: Schedule = (step) => {
    const factor = evaluate({ step, steps, warmup });
    if (typeof factor === "number" && factor >= 0 && factor < Number.POSITIVE_INFINITY) return factor;
    throw new UsageError(
      `${cannot(text)}: at step ${step} of ${steps} it gives ${factor}, expected a factor from 0`,
    );
  };
  // Better now than in the middle of the run.
  for (let step = 0; step < steps; step++) schedule(step);
  return schedule;
}

type Evaluate = (scope: Readonly<Record<string, number>>) => unknown;

function cannot(text: string): string {
  return `Cannot use the schedule ${JSON.stringify(text.slice(0, 80))}`;
}

async function compile(text: string): Promise<Evaluate> {
  const refused = cannot(text);
  if (text.length > MAX_EXPRESSION_LENGTH)
    throw new UsageError(`${refused}: it has ${text.length} characters, at most ${MAX_EXPRESSION_LENGTH}`);
  const { all = {}, create } = await import("mathjs/number");
  const math = create(all);
  const { parse } = math;
  // What an expression could reach the parser with, as mathjs advises for text from strangers.
  const forbidden = ["import", "createUnit", "evaluate", "parse", "simplify", "derivative", "reviver"];
  const refuse = () => {
    throw new UsageError(`${refused}: it may only compute with numbers`);
  };
  math.import(Object.fromEntries(forbidden.map((name) => [name, refuse])), { override: true });
  try {
    const tree = parse(text);
    checkTree(tree, refused);
    const code = tree.compile();
    return (scope) => code.evaluate({ ...scope });
  } catch (cause) {
    if (cause instanceof UsageError) throw cause;
    throw new UsageError(`${refused}: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}

/** Allows numbers, the variables, operators and functions above, and conditions; nothing else can be in the tree. */
function checkTree(tree: MathNode, cannot: string): void {
  let nodes = 0;
  tree.traverse((node, _path, parent) => {
    if (++nodes > MAX_NODES)
      throw new UsageError(`${cannot}: it has more than ${MAX_NODES} numbers and operators`);
    const problem = problemOf(node, parent);
    if (problem !== null) {
      const names = `step, steps, warmup, pi, e, and the functions ${[...FUNCTIONS].join(", ")}`;
      throw new UsageError(
        `${cannot}: ${problem} is not allowed; name one of ${SCHEDULE_NAMES.join(", ")}, or compute with numbers, operators, ${names}`,
      );
    }
  });
}

function problemOf(node: MathNode, parent: MathNode | null): string | null {
  if (isConstant(node)) return typeof node.value === "number" ? null : JSON.stringify(node.value);
  if (isSymbol(node)) {
    const called = parent !== null && isFunction(parent) && parent.fn === node;
    return (called ? FUNCTIONS : VARIABLES).has(node.name) ? null : `"${node.name}"`;
  }
  if (isOperator(node)) return OPERATORS.has(node.fn) ? null : `the operator "${node.op}"`;
  if (isFunction(node)) return isSymbol(node.fn) ? null : `calling "${node.fn}"`;
  const plain = ["ParenthesisNode", "ConditionalNode", "RelationalNode"].includes(node.type);
  return plain ? null : `"${node.toString()}"`;
}

function isConstant(node: MathNode): node is ConstantNode {
  return node.type === "ConstantNode";
}

function isSymbol(node: MathNode): node is SymbolNode {
  return node.type === "SymbolNode";
}

function isOperator(node: MathNode): node is OperatorNode {
  return node.type === "OperatorNode";
}

function isFunction(node: MathNode): node is FunctionNode {
  return node.type === "FunctionNode";
}
