// The lines that show how far a scan, a download or the packing of a dataset is.
import type { PackingProgress } from "../chat/packed-dataset.ts";
import type { ScanProgress } from "../snr/scan-progress.ts";
import { bar, dim, ellipsis, type ReportStyle, reportWidth } from "./paint.ts";
import { displayWidth, keepTail, printable } from "./text.ts";
import { formatBytes, formatCount, formatDuration, formatShare } from "./units.ts";

/** One line of at most `width` cells without a newline: bar, modules, time left, bytes, rate, module. */
export function renderProgress(progress: ScanProgress, style: ReportStyle): string {
  const { modulesDone, modulesTotal, bytesDone, bytesTotal, elapsedMs, remainingMs } = progress;
  const done = bytesTotal > 0 ? bytesDone / bytesTotal : modulesTotal > 0 ? modulesDone / modulesTotal : 1;
  const time =
    remainingMs === null || done >= 1 ? formatDuration(elapsedMs) : `${formatDuration(remainingMs)} left`;
  const rate = elapsedMs > 0 ? `${formatBytes((bytesDone * 1000) / elapsedMs)}/s` : "";
  const label = `${modulesDone}/${modulesTotal} modules`;
  return renderProgressLine(
    { done, label, optional: [time, byteCount(bytesDone, bytesTotal), rate], name: progress.module },
    style,
  );
}

/** How far a download is. */
export interface DownloadState {
  /** The file that moved on last. */
  readonly file: string;
  readonly bytes: number;
  readonly totalBytes: number;
  readonly elapsedMs: number;
}

/** One line of at most `width` cells without a newline: bar, bytes, rate, time left, file. */
export function renderDownload(progress: DownloadState, style: ReportStyle): string {
  const { bytes, totalBytes, elapsedMs, file } = progress;
  const done = totalBytes > 0 ? bytes / totalBytes : 1;
  const rate = elapsedMs > 0 ? (bytes * 1000) / elapsedMs : 0;
  const timeLeft = rate > 0 ? `${formatDuration(((totalBytes - bytes) * 1000) / rate)} left` : "";
  return renderProgressLine(
    {
      done,
      label: formatShare(Math.floor(done * 100) / 100),
      optional: [timeLeft, byteCount(bytes, totalBytes), `${formatBytes(rate)}/s`],
      name: file,
    },
    style,
  );
}

/** One line of at most `width` cells without a newline: bar, records, time left, tokens, rate. */
export function renderPacking(progress: PackingProgress, style: ReportStyle): string {
  const { records, tokens, bytes, totalBytes, elapsedMs } = progress;
  const done = totalBytes > 0 ? bytes / totalBytes : 1;
  const timeLeft = done > 0 ? `${formatDuration((elapsedMs * (1 - done)) / done)} left` : "";
  const rate = elapsedMs > 0 ? `${formatCount((tokens * 1000) / elapsedMs)} tokens/s` : "";
  return renderProgressLine(
    {
      done,
      label: `${formatCount(records)} records`,
      optional: [timeLeft, `${formatCount(tokens)} tokens`, rate, byteCount(bytes, totalBytes)],
      name: "",
    },
    style,
  );
}

function byteCount(bytes: number, totalBytes: number): string {
  return `${formatBytes(bytes)} of ${formatBytes(totalBytes)}`;
}

/** A line of progress, before it is drawn. */
export interface ProgressLine {
  /** 0 to 1. */
  readonly done: number;
  readonly label: string;
  /** What follows where there is room, the most important first; empty ones are left out. */
  readonly optional: readonly string[];
  /** Name of what was done last, at the end where there is room. */
  readonly name: string;
}

/** Draws such a line in at most `width` cells. */
export function renderProgressLine(
  { done, label, optional, name }: ProgressLine,
  style: ReportStyle,
): string {
  const width = reportWidth(style);
  const wanted = Math.min(24, Math.max(6, Math.floor(width * 0.25)));
  const barWidth = Math.max(0, Math.min(wanted, width - 2 - displayWidth(label)));
  const parts = [label];
  let used = barWidth + 2 + displayWidth(label);
  for (const text of optional) {
    if (text === "" || used + text.length + 2 > width) continue;
    parts.push(text);
    used += text.length + 2;
  }
  const room = width - used - 2;
  const tail =
    room >= 10 && name !== "" ? `  ${dim(keepTail(printable(name), room, ellipsis(style)), style)}` : "";
  return `${bar(done, barWidth, style)}  ${parts.join("  ")}${tail}`;
}
