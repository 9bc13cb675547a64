// Patterns for module names: `*` is any run of characters, dots included, `?` any one. Everything else is literal.
import { UsageError } from "../errors.ts";
import { ANY_RUN, matchesPattern } from "../wildcards.ts";
import type { ModelModule } from "./module.ts";

/** Says whether the whole of `text` matches; time is at most the product of the two lengths, whatever the pattern. */
export function matchesGlob(pattern: string, text: string): boolean {
  const expected = [...pattern].map((wanted) =>
    wanted === "*" ? ANY_RUN : (character: string) => wanted === "?" || character === wanted,
  );
  return matchesPattern(expected, [...text]);
}

type NamedModule = Pick<ModelModule, "name" | "tensor" | "type">;

/** Says whether one of the patterns matches the module's name, tensor or type. */
export function matchesAny(patterns: readonly string[], { name, tensor, type }: NamedModule): boolean {
  return patterns.some((pattern) => [name, tensor, type].some((text) => matchesGlob(pattern, text)));
}

/**
 * Checks that each pattern means a module.
 *
 * @throws UsageError naming the pattern that matches none, and what names look like.
 */
export function checkPatterns(patterns: readonly string[], modules: readonly NamedModule[]): void {
  for (const pattern of patterns) {
    if (modules.some((module) => matchesAny([pattern], module))) continue;
    // A module of a layer, where there is one, shows more of how names are built than an embedding.
    const example = modules.find(({ name, type }) => name !== type) ?? modules[0];
    const hint = example && `; a module is named ${example.name}, of type ${example.type}`;
    throw new UsageError(
      `Cannot filter by ${JSON.stringify(pattern)}: it matches the whole name, tensor or type of none of the ${modules.length} modules${hint ?? ""}`,
    );
  }
}
