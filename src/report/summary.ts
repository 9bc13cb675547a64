// One sentence about a scan that is done.
import type { ScanResults } from "../snr/results.ts";
import type { ScanProgress } from "../snr/scan-progress.ts";
import { type ReportStyle, reportWidth } from "./paint.ts";
import { printable, wrap } from "./text.ts";
import { formatBytes, formatCount, formatDuration } from "./units.ts";

/** What was scanned, how much of it was known before, by what and how fast; `progress` is the last that was told. */
export function renderSummary(results: ScanResults, progress: ScanProgress, style: ReportStyle): string {
  const { model, backend } = results;
  const { modulesDone, modulesCached, bytesDone, elapsedMs } = progress;
  const parameters = model.parameters === null ? "" : ` (${formatCount(model.parameters)} parameters)`;
  const cached = modulesCached > 0 ? `, ${modulesCached} of them known before` : "";
  const time = elapsedMs < 10_000 ? `${(elapsedMs / 1000).toFixed(1)} s` : formatDuration(elapsedMs);
  const sentence =
    `${printable(model.id)}${parameters}: ${modulesDone} matrices, ${formatBytes(bytesDone)}${cached}, ` +
    `scored in ${time} by ${backend.name} (${backend.precision}).`;
  return `${wrap(sentence, reportWidth(style)).join("\n")}\n`;
}
