// Results made by hand: what a test leaves out gets a plain value.
import type { ModuleResult, ScanResults } from "../../src/snr/results.ts";

export function moduleResult(name: string, fields: Partial<ModuleResult> = {}): ModuleResult {
  const layer = /\.([0-9]+)\./.exec(`.${name}`)?.[1];
  return {
    name,
    tensor: `${name}.weight`,
    type: name.replace(/^.*[0-9]+\./, ""),
    layer: layer === undefined ? null : Number(layer),
    part: "body",
    shape: [4, 4],
    dtype: "F32",
    ...(fields.skipped === undefined ? { snr: { spectrum: 1, calibrated: 1 } } : {}),
    ...fields,
  };
}

export function scored(
  name: string,
  spectrum: number | null,
  fields: Partial<ModuleResult> = {},
): ModuleResult {
  return moduleResult(name, { snr: { spectrum, calibrated: null }, ...fields });
}

export function scanResults(modules: readonly ModuleResult[], parameters: number | null = 1000): ScanResults {
  return {
    schemaVersion: 1,
    model: { id: "org/tiny_model", revision: "abc123", files: [], parameters },
    tool: { name: "spectrum-tune", version: "0.1.0" },
    backend: { name: "reference", version: "1", precision: "exact" },
    modules,
  };
}
