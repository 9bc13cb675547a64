// Patterns for paths as Python's fsspec reads them: `**` as a whole part is any number of parts; within a part `*` is any
// run of characters, `?` any one, `[...]` one of a set.

/** Says whether the whole of a path matches; time is bounded by a power of the lengths, whatever the pattern. */
export function matchesPath(pattern: string, path: string): boolean {
  const parts = pattern.split("/").map((part) => (part === "**" ? ANY_RUN : partPattern(part)));
  // At the end it is what a folder holds, not the folder.
  if (parts.at(-1) === ANY_RUN) parts.push(() => true);
  return matchesRun(parts, path.split("/"));
}

const ANY_RUN = Symbol("any run");

/** What each thing of a sequence is to be, or a run of any. */
type Pattern<T> = readonly (((thing: T) => boolean) | typeof ANY_RUN)[];

function matchesRun<T>(pattern: Pattern<T>, things: readonly T[]): boolean {
  let p = 0;
  let t = 0;
  let star = -1;
  let resume = 0;
  while (t < things.length) {
    const expected = pattern[p];
    if (expected === ANY_RUN) {
      star = p++;
      resume = t;
    } else if (expected?.(things[t] as T)) {
      p++;
      t++;
    } else if (star >= 0) {
      // The last run takes one thing more; an earlier run never needs to.
      p = star + 1;
      t = ++resume;
    } else return false;
  }
  while (pattern[p] === ANY_RUN) p++;
  return p === pattern.length;
}

function partPattern(text: string): (part: string) => boolean {
  const pattern: Pattern<string> = [...text.matchAll(/\*+|\?|\[!?\]?[^\]]*\]|./gsu)].map(([token]) => {
    if (token.startsWith("*")) return ANY_RUN;
    if (token === "?") return () => true;
    if (token.length > 1 && token.startsWith("[")) return oneOf(token.slice(1, -1));
    return (character) => character === token;
  });
  return (part) => matchesRun(pattern, [...part]);
}

/** The set between brackets: characters and ranges, all others after `!`. */
function oneOf(set: string): (character: string) => boolean {
  const isInverted = set.startsWith("!");
  const members = [...set.slice(isInverted ? 1 : 0).matchAll(/(.)-(.)|./gsu)];
  return (character) =>
    members.some(([member, from, to]) =>
      from !== undefined && to !== undefined ? character >= from && character <= to : character === member,
    ) !== isInverted;
}
