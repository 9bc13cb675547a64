// Reads the tensor tables of real families (test/fixtures/modules, made by scripts/fixtures/module-names.py).
import { readdirSync, readFileSync } from "node:fs";
import { findModules } from "../../src/modules/find-modules.ts";
import type { NamedTensor } from "../../src/modules/kind.ts";
import type { ModelModule } from "../../src/modules/module.ts";
import type { DType } from "../../src/tensor/dtype.ts";

const FOLDER = new URL("../fixtures/modules/", import.meta.url);

type Row = readonly [name: string, dtype: DType, shape: readonly number[], torchClass?: string];

export interface Family {
  readonly config: Readonly<Record<string, unknown>>;
  readonly memory: readonly Row[];
  readonly stored: readonly Row[] | null;
  readonly tied: readonly (readonly string[])[];
}

export const FAMILIES = readdirSync(FOLDER).map((file) => file.replace(/\.json$/, ""));

export function readFamily(family: string): Family {
  return JSON.parse(readFileSync(new URL(`${family}.json`, FOLDER), "utf8"));
}

export function tableOf(rows: readonly Row[]): ReadonlyMap<string, NamedTensor> {
  return new Map(rows.map(([name, dtype, shape]) => [name, { name, dtype, shape }]));
}

/** Modules of a family: as transformers holds it in memory, or as it stores it. */
export function modulesOf(family: string, form: "memory" | "stored" = "memory"): readonly ModelModule[] {
  const { config, memory, stored } = readFamily(family);
  return findModules(tableOf(form === "stored" ? (stored ?? memory) : memory), config);
}

export function modulesFrom(
  shapes: Readonly<Record<string, readonly number[]>>,
  config: Readonly<Record<string, unknown>> = {},
  dtype: DType = "F32",
): readonly ModelModule[] {
  return findModules(tableOf(Object.entries(shapes).map(([name, shape]) => [name, dtype, shape])), config);
}

export function typesOf(modules: readonly ModelModule[]): string[] {
  return [...new Set(modules.filter((module) => module.kind === "matrix").map((module) => module.type))];
}
