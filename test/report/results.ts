// Results made for the report's tests: every score names its place, so that a picture can be read back.
import type { ModuleResult, ScanResults } from "../../src/snr/results.ts";

/** A module with its scores. */
export function module(
  type: string,
  layer: number | null,
  score: number | null,
  more: Partial<ModuleResult> = {},
): ModuleResult {
  const name = layer === null ? type : `model.layers.${layer}.${type}`;
  return {
    name,
    tensor: `${name}.weight`,
    type,
    layer,
    part: "body",
    shape: [4, 4],
    dtype: "BF16",
    snr: { spectrum: score, calibrated: null },
    ...more,
  };
}

/** A document of these modules. */
export function resultsOf(modules: readonly ModuleResult[]): ScanResults {
  return {
    schemaVersion: 1,
    model: { id: "test", revision: null, files: [], parameters: 16 * modules.length },
    tool: { name: "spectrum-tune", version: "0" },
    backend: { name: "wasm", version: "1", precision: "exact" },
    modules,
  };
}

/** The text without its colours. */
export function plain(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: an escape sequence begins with a control character
  return text.replace(/\u001b\[[0-9;]*m/g, "");
}
