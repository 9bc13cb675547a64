// The table of output dialects.
import { UsageError } from "../../errors.ts";
import { axolotl } from "./axolotl.ts";
import type { Dialect } from "./dialect.ts";
import { names } from "./names.ts";
import { original } from "./original.ts";
import { trl } from "./trl.ts";

/** Every dialect, the default first. */
export const DIALECTS: readonly Dialect[] = [axolotl, trl, names, original];

/** @throws UsageError listing the dialects there are when there is none of that name. */
export function dialectNamed(name: string): Dialect {
  const dialect = DIALECTS.find((candidate) => candidate.name === name);
  if (dialect) return dialect;
  throw new UsageError(
    `There is no format ${JSON.stringify(name)}: expected one of ${DIALECTS.map((known) => known.name).join(", ")}`,
  );
}
