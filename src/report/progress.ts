// The line that shows how far a scan is.
import type { ScanProgress } from "../snr/scan-progress.ts";
import { bar, dim, ellipsis, type ReportStyle, reportWidth } from "./paint.ts";
import { displayWidth, keepTail, printable } from "./text.ts";
import { formatBytes, formatDuration } from "./units.ts";

/** One line of at most `width` cells without a newline: bar, modules, bytes, rate, time left, module. */
export function renderProgress(progress: ScanProgress, style: ReportStyle): string {
  const width = reportWidth(style);
  const { modulesDone, modulesTotal, bytesDone, bytesTotal, elapsedMs } = progress;
  const done = bytesTotal > 0 ? bytesDone / bytesTotal : modulesTotal > 0 ? modulesDone / modulesTotal : 1;
  const parts = [`${modulesDone}/${modulesTotal}`];
  const timeLeft =
    progress.remainingMs === null || done >= 1
      ? formatDuration(elapsedMs)
      : `${formatDuration(progress.remainingMs)} left`;
  const rate = elapsedMs > 0 ? `${formatBytes((bytesDone * 1000) / elapsedMs)}/s` : "";
  const optional = [timeLeft, `${formatBytes(bytesDone)} of ${formatBytes(bytesTotal)}`, rate];
  const barWidth = Math.min(24, Math.max(6, Math.floor(width * 0.25)));
  let used = barWidth + 2 + displayWidth(parts.join("  "));
  for (const text of optional) {
    if (text === "" || used + text.length + 2 > width) continue;
    parts.push(text);
    used += text.length + 2;
  }
  const room = width - used - 2;
  const name =
    room >= 10 ? `  ${dim(keepTail(printable(progress.module), room, ellipsis(style)), style)}` : "";
  return `${bar(done, barWidth, style)}  ${parts.join("  ")}${name}`;
}
