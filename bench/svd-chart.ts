// A report of svd.bench.ts as an SVG: a bar per shape and backend in throughput, as long as it is times as fast as the
// faster of torch and scipy. Text is text, there are no scripts, and it reads on a light and on a dark page.
import type { SvdGoal, SvdRatio, SvdReport } from "./svd-report.ts";

const WIDTH = 760;
const LABELS = 230;
const VALUES = 70;
const BAR = 14;
const GAP = 6;
const GROUP_GAP = 18;
const TOP = 84;
const BOTTOM = 28;

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #1f2328; }
  .title { font-size: 15px; font-weight: 600; }
  .quiet { fill: #59636e; }
  .axis { stroke: #59636e; stroke-width: 1; }
  .goal { stroke: #1f2328; stroke-width: 2; }
  .exact { fill: #54aeff; }
  .fast { fill: #0969da; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .quiet { fill: #9198a1; }
    .axis { stroke: #9198a1; }
    .goal { stroke: #e6edf3; }
    .exact { fill: #1f6feb; }
    .fast { fill: #79c0ff; }
  }
`;

/** @throws Error when no shape was measured beside torch or scipy. */
export function drawChart(report: SvdReport): string {
  const ratios = report.ratios.filter(({ mode }) => mode === "throughput");
  if (ratios.length === 0) {
    throw new Error("Cannot draw the chart: nothing was measured beside torch or scipy, which Python lacks");
  }
  const longest = Math.max(1, ...ratios.map(({ timesFaster }) => timesFaster), ...report.goals.map(goalOf));
  const scale = (WIDTH - LABELS - VALUES) / longest;
  const parts: string[] = [];
  let y = TOP;
  for (const shape of new Set(ratios.map((ratio) => ratio.shape))) {
    for (const [index, ratio] of ratios.filter((other) => other.shape === shape).entries()) {
      if (index === 0) parts.push(text(8, y + BAR - 3, shapeLabel(shape)));
      parts.push(bar(report, ratio, { y, scale }));
      y += BAR + GAP;
    }
    y += GROUP_GAP - GAP;
  }
  const height = y - GROUP_GAP + BOTTOM;
  const one = LABELS + scale;
  parts.push(
    `<line class="axis" x1="${px(one)}" y1="${TOP - 18}" x2="${px(one)}" y2="${height - BOTTOM + 8}"/>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-labelledby="title">
<style>${STYLE}</style>
${heading(report)}
${parts.join("\n")}
${text(8, height - 8, `${report.hardware}, ${report.runtime}, ${peers(report)}`, "quiet")}
</svg>
`;
}

function heading({ threads }: SvdReport): string {
  const versus = "times as fast as the faster of torch and scipy in float32";
  return [
    `<title id="title">Singular values of weight matrices: ${versus}</title>`,
    text(8, 22, "Singular values of bfloat16 weight matrices", "title"),
    text(8, 42, `Throughput on ${threads} threads: ${versus}; longer is better`, "quiet"),
    `<rect class="exact" x="8" y="52" width="12" height="12"/>`,
    text(26, 62, "exact", "quiet"),
    `<rect class="fast" x="76" y="52" width="12" height="12"/>`,
    text(94, 62, "fast", "quiet"),
    `<line class="goal" x1="140" y1="51" x2="140" y2="65"/>`,
    text(148, 62, "goal of fast", "quiet"),
  ].join("\n");
}

function bar(report: SvdReport, ratio: SvdRatio, { y, scale }: { y: number; scale: number }): string {
  const { backend, precision, timesFaster } = ratio;
  const end = LABELS + scale * timesFaster;
  const goal = report.goals.find((other) => isGoalOf(other, ratio));
  const goalEnd = LABELS + scale * (goal?.timesFaster ?? 0);
  const mark = `<line class="goal" x1="${px(goalEnd)}" y1="${y - 2}" x2="${px(goalEnd)}" y2="${y + BAR + 2}"/>`;
  return [
    text(104, y + BAR - 3, backend, "quiet"),
    `<rect class="${precision}" x="${LABELS}" y="${y}" width="${px(end - LABELS)}" height="${BAR}"/>`,
    ...(goal ? [mark] : []),
    text(Math.max(end, goalEnd) + 6, y + BAR - 3, `${timesFaster.toFixed(2)}x`),
  ].join("\n");
}

function isGoalOf(goal: SvdGoal, { shape, backend, precision }: SvdRatio): boolean {
  return goal.shape === shape && goal.backend === backend && goal.precision === precision;
}

function goalOf({ timesFaster }: SvdGoal): number {
  return timesFaster;
}

function peers({ versions }: SvdReport): string {
  return ["torch", "scipy"]
    .flatMap((name) => (versions[name] ? [`${name} ${versions[name]}`] : []))
    .join(", ");
}

function shapeLabel(shape: string): string {
  return shape.replace("x", " × ");
}

function text(x: number, y: number, content: string, kind?: string): string {
  const escaped = content.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return `<text x="${px(x)}" y="${px(y)}"${kind === undefined ? "" : ` class="${kind}"`}>${escaped}</text>`;
}

/** A coordinate, to a tenth of a pixel. */
function px(value: number): string {
  return String(Math.round(value * 10) / 10);
}
