// Runs a parsed Jinja template within bounds: templates come from strangers. Not a sandbox of its own: the interpreter
// knows no file, process or prototype; what is left to a hostile template is to never end, or to fill the memory.
import { Environment, Interpreter } from "@huggingface/jinja";

/** A parsed template: a tree of nodes that only the interpreter reads. */
export type Program = unknown;

/** A value of the interpreter. A list's content is an array of values, a mapping's a Map of them. */
interface Value {
  readonly type: string;
  readonly value: unknown;
}

/** The part of the interpreter that is used here; its own declarations cannot be resolved by Node's rules. */
interface Evaluator {
  run(program: Program): Value;
  evaluate(node: unknown, environment: unknown): Value;
}

const JinjaInterpreter: new (environment: unknown) => Evaluator = Interpreter;

/** Longest range() that a template may make, as in Jinja's own sandbox. */
export const MAX_RANGE = 100_000;

/** Most characters that a value may have, each text and key of it counted as often as it would be written. */
export const MAX_VALUE_LENGTH = 16 * 2 ** 20;

/** Most values that a list or mapping may hold, those in its own lists and mappings included. */
export const MAX_VALUE_COUNT = 2 ** 18;

/** Longest time that one rendering may take. */
export const MAX_RENDER_MS = 3_000;

/** A template ran for too long. Others of its renderings may as well, hence a class of its own. */
export class TemplateTimeout extends Error {
  override readonly name = "TemplateTimeout";
}

/**
 * Renders a program.
 *
 * Bounded are the time (looked at before every node of the program), the size of every value that a node yields, and
 * range(). A namespace, the one value that changes after it was made, may not stand inside another value, so that a
 * value never outgrows the size it was measured with. One node's work is at most a few passes over such values.
 *
 * @throws TemplateTimeout when it does not end in time; Error when it leaves another bound, raises an exception, or cannot be evaluated.
 */
export function renderBounded(program: Program, variables: Readonly<Record<string, unknown>>): string {
  const environment = new Environment();
  const globals: Record<string, unknown> = { ...GLOBALS };
  for (const [name, value] of Object.entries(globals)) environment.set(name, value);
  for (const [name, value] of Object.entries(variables)) {
    if (!Object.hasOwn(globals, name)) environment.set(name, value);
  }
  const rendered = new BoundedInterpreter(environment).run(program).value;
  if (typeof rendered !== "string") throw new TypeError("the template rendered to no text");
  return rendered;
}

const GLOBALS = {
  true: true,
  false: false,
  none: null,
  True: true,
  False: false,
  None: null,
  range: boundedRange,
  raise_exception: (message: unknown) => {
    throw new Error(String(message));
  },
};

class BoundedInterpreter extends JinjaInterpreter {
  private readonly deadline = performance.now() + MAX_RENDER_MS;

  override evaluate(node: unknown, environment: unknown): Value {
    if (performance.now() > this.deadline)
      throw new TemplateTimeout(`the template did not end within ${MAX_RENDER_MS} ms`);
    const value = super.evaluate(node, environment);
    measure(value);
    // A namespace that has just been changed is looked at again: it may now hold another one.
    if (isMemberAssignment(node)) measure(this.evaluate(node.assignee.object, environment));
    return value;
  }
}

interface MemberAssignment {
  readonly assignee: { readonly object: unknown };
}

function isMemberAssignment(node: unknown): node is MemberAssignment {
  if (!isObject(node) || node.type !== "Set") return false;
  return isObject(node.assignee) && node.assignee.type === "MemberExpression";
}

/** @throws RangeError when the value, written out as a tree, is too large; TypeError when it holds a namespace. */
function measure(root: Value): void {
  let length = 0;
  let count = 0;
  const pending: unknown[] = [root];
  while (pending.length > 0) {
    const value = pending.pop();
    if (!isObject(value)) continue;
    if (value.type === "NamespaceValue" && count > 0)
      throw new TypeError(
        "the template puts a namespace inside another value, which this version does not run",
      );
    const content = value.value;
    count += 1;
    if (typeof content === "string") length += content.length;
    else if (Array.isArray(content)) pushAll(pending, content);
    else if (content instanceof Map) {
      for (const key of content.keys()) length += String(key).length;
      pushAll(pending, content.values());
    }
    if (count + pending.length > MAX_VALUE_COUNT)
      throw new RangeError(`the template makes a value of more than ${MAX_VALUE_COUNT} parts`);
    if (length > MAX_VALUE_LENGTH)
      throw new RangeError(`the template makes a value of more than ${MAX_VALUE_LENGTH} characters`);
  }
}

function pushAll(pending: unknown[], values: Iterable<unknown>): void {
  for (const value of values) pending.push(value);
}

/** Python's range(), its length bounded. */
function boundedRange(first: unknown, second?: unknown, third?: unknown): number[] {
  const given = [first, second, third].filter((argument) => argument !== undefined).map(integer);
  const [start = 0, stop = 0, step = 1] = given.length === 1 ? [0, ...given] : given;
  if (step === 0) throw new RangeError("range() step must not be zero");
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (length > MAX_RANGE)
    throw new RangeError(`the template asks for a range of ${length}, expected at most ${MAX_RANGE}`);
  return Array.from({ length }, (_, index) => start + index * step);
}

function integer(argument: unknown): number {
  if (typeof argument !== "number" || !Number.isSafeInteger(argument))
    throw new TypeError("range() takes whole numbers");
  return argument;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
