// Numbers as people read them. For machines there is --json.

/** A score in at most eight characters, three significant digits: `1.23`, `0.0456`, `1234`, `4.5e-7`; `inf` in imported results. */
export function formatScore(score: number | null): string {
  if (score === null) return "-";
  if (score === 0) return "0";
  if (score === Number.POSITIVE_INFINITY) return "inf";
  const size = Math.abs(score);
  if (size >= 100 && size < 1e6) return score.toFixed(0);
  if (size < 1e-3 || size >= 1e6) return score.toExponential(1).replace("e+", "e");
  return score.toPrecision(3);
}

/** A count of parameters: `135 M`, `8.03 B`, `640`. */
export function formatCount(count: number): string {
  return scaled(count, ["", " K", " M", " B", " T"]);
}

/** Bytes in decimal units: `4.01 MB`, `812 B`. */
export function formatBytes(bytes: number): string {
  return scaled(bytes, [" B", " kB", " MB", " GB", " TB", " PB"]);
}

/** A number of things, or the median of several: `12`, `12.5`. */
export function formatNumber(value: number | null): string {
  return value === null ? "-" : String(Number(value.toFixed(1)));
}

/** A duration: `0:07`, `12:34`, `3:05:00`. */
export function formatDuration(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const tail = `${String(rest).padStart(2, "0")}`;
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
}

/** A share from 0 to 1 as `18.9%`. */
export function formatShare(share: number): string {
  return `${Number((share * 100).toFixed(1))}%`;
}

function scaled(value: number, suffixes: readonly string[]): string {
  let power = 0;
  let rest = value;
  while (rest >= 999.5 && power < suffixes.length - 1) {
    rest /= 1000;
    power++;
  }
  const digits = power === 0 ? String(Math.round(rest)) : rest.toPrecision(3);
  return digits + (suffixes[power] ?? "");
}
