// Patterns for paths as Python's fsspec reads them: `**` as a whole part is any number of parts; within a part `*` is any
// run of characters, `?` any one, `[...]` one of a set.
import { ANY_RUN, matchesPattern, type Pattern } from "../wildcards.ts";

/** Says whether the whole of a path matches; time is bounded by a power of the lengths, whatever the pattern. */
export function matchesPath(pattern: string, path: string): boolean {
  const parts = pattern.split("/").map((part) => (part === "**" ? ANY_RUN : partPattern(part)));
  // At the end it is what a folder holds, not the folder.
  if (parts.at(-1) === ANY_RUN) parts.push(() => true);
  return matchesPattern(parts, path.split("/"));
}

function partPattern(text: string): (part: string) => boolean {
  const pattern: Pattern<string> = [...text.matchAll(/\*+|\?|\[!?\]?[^\]]*\]|./gsu)].map(([token]) => {
    if (token.startsWith("*")) return ANY_RUN;
    if (token === "?") return () => true;
    if (token.length > 1 && token.startsWith("[")) return oneOf(token.slice(1, -1));
    return (character) => character === token;
  });
  return (part) => matchesPattern(pattern, [...part]);
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
