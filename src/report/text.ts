// Text that fits a terminal's cells. Names come from checkpoints, so nothing here trusts them to be printable.

// Controls (terminal escapes among them), invisible and direction-changing characters, lone surrogates.
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
// biome-ignore lint/suspicious/noControlCharactersInRegex: an escape sequence begins with a control character
const ESCAPES = /\u001b\[[0-9;]*m/g;
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;
const COMBINING = /\p{M}/u;

/** A name as it may be shown: control and invisible characters become `?`. */
export function printable(name: string): string {
  return name.replace(UNPRINTABLE, "?");
}

/** Cells that a text takes on a terminal, colour escapes not counted. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const character of text.replace(ESCAPES, "")) width += characterWidth(character);
  return width;
}

/** Cells of the widest of the texts; at least `least`. */
export function widest(texts: readonly string[], least: number): number {
  return texts.reduce((width, text) => Math.max(width, displayWidth(text)), least);
}

/** The beginning of a plain text in at most `width` cells; `mark` shows that something was cut. */
export function keepHead(text: string, width: number, mark = "~"): string {
  return displayWidth(text) <= width ? text : take([...text], width - displayWidth(mark)).join("") + mark;
}

/** The end of a plain text in at most `width` cells: of a dotted name the part that tells most. */
export function keepTail(text: string, width: number, mark = "~"): string {
  if (displayWidth(text) <= width) return text;
  const kept = take([...text].reverse(), width - displayWidth(mark)).reverse();
  return mark + kept.join("");
}

/** Fills up with spaces to `width` cells, on the right or (for numbers) on the left. */
export function pad(text: string, width: number, align: "left" | "right" = "left"): string {
  const spaces = " ".repeat(Math.max(0, width - displayWidth(text)));
  return align === "left" ? text + spaces : spaces + text;
}

/** Breaks a plain text at spaces into lines of at most `width` cells; `indent` begins every line but the first. */
export function wrap(text: string, width: number, indent = ""): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    const grown = line === "" ? word : `${line} ${word}`;
    if (line.trim() !== "" && displayWidth(grown) > width) {
      lines.push(line);
      line = indent + keepHead(word, width - indent.length);
    } else {
      line = line.trim() === "" ? line + keepHead(word, width - line.length) : grown;
    }
  }
  lines.push(line);
  return lines;
}

function take(characters: readonly string[], width: number): string[] {
  const kept: string[] = [];
  let used = 0;
  for (const character of characters) {
    used += characterWidth(character);
    if (used > width) break;
    kept.push(character);
  }
  return kept;
}

function characterWidth(character: string): number {
  if (COMBINING.test(character)) return 0;
  return WIDE.test(character) ? 2 : 1;
}
