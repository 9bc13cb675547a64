// When progress is shown: on a terminal one line, redrawn; elsewhere (a log) a plain line now and then.
import type { ReportStyle } from "../index.ts";
import type { Terminal } from "./terminal.ts";

const REDRAW_MS = 100;
const LOG_EVERY_MS = 5000;

/** Shows what it is told, as often as the terminal bears. */
export interface ProgressReporter<Progress> {
  readonly report: (progress: Progress) => void;
  /** What it was told last; null before. */
  readonly last: Progress | null;
}

/** A reporter that draws with `render`; the style's width leaves the last cell free, so that no terminal wraps. */
export function progressReporter<Progress>(
  terminal: Terminal,
  render: (progress: Progress, style: ReportStyle) => string,
): ProgressReporter<Progress> {
  let last: Progress | null = null;
  // A log's first line comes after the first interval: what is done at once needs none.
  let shownAt = terminal.interactive ? Number.NEGATIVE_INFINITY : performance.now();
  return {
    get last() {
      return last;
    },
    report(progress) {
      last = progress;
      const now = performance.now();
      if (now - shownAt < (terminal.interactive ? REDRAW_MS : LOG_EVERY_MS)) return;
      shownAt = now;
      const style = terminal.style;
      const line = render(progress, { ...style, width: style.width - 1 });
      if (terminal.interactive) terminal.showStatus(line);
      else terminal.print(line);
    },
  };
}
