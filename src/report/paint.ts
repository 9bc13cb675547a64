// Colours of the terminal report. The scale is matplotlib's viridis (CC0): even to the eye, readable without red or green.
import { pad } from "./text.ts";

/** Colours a terminal can show. `ansi256` is the xterm palette. */
export type ColorDepth = "none" | "ansi256" | "truecolor";

/** What the report is drawn for. */
export interface ReportStyle {
  /** Cells per line; less than 24 is taken as 24. */
  readonly width: number;
  readonly color: ColorDepth;
  /** Whether other than ASCII characters may be drawn. Default true. */
  readonly unicode?: boolean;
}

type Rgb = readonly [red: number, green: number, blue: number];

const VIRIDIS: readonly Rgb[] = [
  [68, 1, 84],
  [72, 40, 120],
  [62, 73, 137],
  [49, 104, 142],
  [38, 130, 142],
  [31, 158, 137],
  [53, 183, 121],
  [110, 206, 88],
  [181, 222, 43],
  [253, 231, 37],
];

/** The scale in the xterm palette, each step lighter than the one before. */
const VIRIDIS_256 = [53, 54, 24, 30, 36, 71, 77, 148, 184, 220];

/** From the lowest to the highest, for terminals without colour; a blank is no module. */
export const SHADES = ".:-=+*#%@";

/** Cells per line that the report is drawn for. */
export function reportWidth(style: ReportStyle): number {
  return Math.max(24, Math.floor(style.width));
}

/** The mark that a text was cut. */
export function ellipsis(style: ReportStyle): string {
  return style.unicode === false ? "~" : "…";
}

/** A heading. */
export function bold(text: string, style: ReportStyle): string {
  return style.color === "none" ? text : `\u001b[1m${text}\u001b[22m`;
}

/** What may be read second. */
export function dim(text: string, style: ReportStyle): string {
  return style.color === "none" ? text : `\u001b[2m${text}\u001b[22m`;
}

/** A cell of the heat map, `fraction` from 0 (lowest) to 1. Without colour it is filled with a shade, and `text` is left out. */
export function heat(fraction: number, text: string, style: ReportStyle): string {
  if (style.color === "none") return shadeCell(shade(fraction), text.length);
  return background(text, viridis(fraction, style), style);
}

/** A cell in the background of the others: the same scale in grey. Needs colour. */
export function gray(fraction: number, text: string, style: ReportStyle): string {
  // Steps 3 to 11 of the xterm palette's 24 greys, which truecolor repeats.
  const step = Math.round(3 + 8 * clamp(fraction));
  const level = 8 + 10 * step;
  const code = style.color === "truecolor" ? `2;${level};${level};${level}` : `5;${232 + step}`;
  return background(text, { code, light: false }, style);
}

/** A cell of one repeated character that leaves a gap to the next one where there is room. */
export function shadeCell(character: string, width: number): string {
  return pad(character.repeat(Math.max(1, width - 1)), width);
}

/** A bar of `width` cells, `fraction` of it full. */
export function bar(fraction: number, width: number, style: ReportStyle): string {
  const full = Math.round(clamp(fraction) * width);
  const [on, off] = style.unicode === false ? ["#", "-"] : ["━", "─"];
  if (style.color === "none") return on.repeat(full) + off.repeat(width - full);
  return foreground(on.repeat(full), viridis(0.66, style)) + dim(off.repeat(width - full), style);
}

/** The shade of {@link SHADES} for a fraction from 0 to 1. */
export function shade(fraction: number): string {
  return SHADES[Math.min(SHADES.length - 1, Math.floor(clamp(fraction) * SHADES.length))] ?? "";
}

/** A colour as the escapes set it, and whether dark ink reads better on it. */
interface Paint {
  readonly code: string;
  readonly light: boolean;
}

function viridis(fraction: number, style: ReportStyle): Paint {
  const position = clamp(fraction) * (VIRIDIS.length - 1);
  const light = position > 4.5;
  if (style.color === "ansi256") return { code: `5;${VIRIDIS_256[Math.round(position)] ?? 0}`, light };
  const low = VIRIDIS[Math.floor(position)] ?? [0, 0, 0];
  const high = VIRIDIS[Math.ceil(position)] ?? low;
  const mixed = low.map((value, i) => Math.round(value + ((high[i] ?? 0) - value) * (position % 1)));
  return { code: `2;${mixed.join(";")}`, light };
}

function background(text: string, paint: Paint, style: ReportStyle): string {
  const [black, white] = style.color === "truecolor" ? ["2;0;0;0", "2;255;255;255"] : ["5;16", "5;231"];
  return `\u001b[48;${paint.code};38;${paint.light ? black : white}m${text}\u001b[39;49m`;
}

function foreground(text: string, paint: Paint): string {
  return text === "" ? "" : `\u001b[38;${paint.code}m${text}\u001b[39m`;
}

function clamp(fraction: number): number {
  return Math.min(1, Math.max(0, fraction));
}
