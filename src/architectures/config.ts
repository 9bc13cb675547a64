// Reads the fields of config.json that decide what a model computes, each with the default that transformers gives it.
import { UsageError } from "../errors.ts";

/** config.json, parsed. */
export type Config = Readonly<Record<string, unknown>>;

/** A whole number of at least 1. @throws UsageError when it is anything else, or missing without a fallback. */
export function size(config: Config, field: string, fallback?: number): number {
  const value = config[field] ?? fallback;
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 1) return value;
  throw wrong(field, "a whole number of at least 1", value);
}

/** A finite number above 0. @throws UsageError when it is anything else, or missing without a fallback. */
export function positive(config: Config, field: string, fallback?: number): number {
  const value = config[field] ?? fallback;
  if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
  throw wrong(field, "a number above 0", value);
}

/** @throws UsageError when it is neither true nor false. */
export function flag(config: Config, field: string, fallback: boolean): boolean {
  const value = config[field] ?? fallback;
  if (typeof value === "boolean") return value;
  throw wrong(field, "true or false", value);
}

/**
 * Holds a field against the only values that can be computed here.
 *
 * @throws UsageError naming the field when it has another.
 */
export function only(config: Config, field: string, allowed: readonly unknown[]): void {
  const value = config[field];
  if (value === undefined || allowed.includes(value)) return;
  throw new UsageError(
    `Cannot build the model: config.json has ${field} ${JSON.stringify(value)}, of which only ${allowed.map((x) => JSON.stringify(x)).join(" or ")} is supported`,
  );
}

/** The error for a field that is not what it has to be. */
export function wrong(field: string, expected: string, got: unknown): UsageError {
  return new UsageError(
    `Cannot build the model: expected ${field} in config.json to be ${expected}, got ${JSON.stringify(got) ?? "nothing"}`,
  );
}
