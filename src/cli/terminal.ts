// The two streams: stdout carries one document for machines and nothing else, stderr all that a person reads.
import type { ColorDepth, ReportStyle } from "../index.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** What the terminal needs of a stream: process.stdout and process.stderr have it. */
export interface OutputStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string, done?: (error?: Error | null) => void): boolean;
  on(event: "error", listener: (error: NodeJS.ErrnoException) => void): unknown;
}

/** The terminal that a command talks to. It owns the status line: text that the next output replaces. */
export class Terminal {
  readonly #stdout: OutputStream;
  readonly #stderr: OutputStream;
  readonly #env: Environment;
  #statusShown = false;

  constructor(stdout: OutputStream, stderr: OutputStream, env: Environment) {
    this.#stdout = stdout;
    this.#stderr = stderr;
    this.#env = env;
    // Told to who prints: printOutput rejects.
    stdout.on("error", () => {});
    stderr.on("error", unlessClosed);
  }

  /** Whether a line can be redrawn in place. */
  get interactive(): boolean {
    return this.#stderr.isTTY === true && this.#env.TERM !== "dumb";
  }

  /** Width and colours of stderr as they are now. */
  get style(): ReportStyle {
    return {
      width: terminalWidth(this.#env, this.#stderr.isTTY ? this.#stderr.columns : undefined),
      color: colorDepth(this.#env, this.#stderr.isTTY === true),
      unicode: showsUnicode(this.#env),
    };
  }

  /** Prints text for a person, newline included. */
  print(text: string): void {
    this.clearStatus();
    this.#stderr.write(text.endsWith("\n") ? text : `${text}\n`);
  }

  /** Prints an error as one sentence. */
  printError(message: string): void {
    this.print(`spectrum: ${printable(message)}`);
  }

  /** Prints what a person should know beside the result, as one sentence. */
  printNote(text: string): void {
    this.print(`Note: ${printable(text)}.`);
  }

  /** Shows one line in place of the one before it; `line` is shorter than the terminal is wide. */
  showStatus(line: string): void {
    if (!this.interactive) return;
    this.#stderr.write(`\r${line}\u001b[K`);
    this.#statusShown = true;
  }

  /** Takes the status line away. */
  clearStatus(): void {
    if (!this.#statusShown) return;
    this.#stderr.write("\r\u001b[K");
    this.#statusShown = false;
  }

  /** Prints the document for machines, indented, on stdout; resolves when the stream has taken all of it. */
  printDocument(value: unknown): Promise<void> {
    return this.printOutput(`${JSON.stringify(value, null, 2)}\n`);
  }

  /**
   * Prints what was asked for itself (help, version) on stdout.
   *
   * @throws Error when the stream cannot take it; a closed pipe is no error.
   */
  printOutput(text: string): Promise<void> {
    this.clearStatus();
    return new Promise((resolve, reject) => {
      this.#stdout.write(text, (error) => {
        if (!error || isClosedPipe(error)) resolve();
        else reject(new Error(`Cannot write to stdout: ${error.message}`, { cause: error }));
      });
    });
  }
}

/** Text that may quote foreign bytes: no control or invisible character but a line's end reaches the terminal. */
function printable(text: string): string {
  return text.replace(/(?!\n)[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, "?");
}

/** A reader that closed the pipe (`| head`) has all it wants: no reason to fail. */
function unlessClosed(error: NodeJS.ErrnoException): void {
  if (!isClosedPipe(error)) throw error;
}

function isClosedPipe(error: NodeJS.ErrnoException): boolean {
  return error.code === "EPIPE";
}

/** Colours to draw with. FORCE_COLOR wins over NO_COLOR (no-color.org), both over what the terminal is. */
export function colorDepth(env: Environment, isTTY: boolean): ColorDepth {
  const forced = env.FORCE_COLOR;
  if (forced !== undefined) {
    if (forced === "0" || forced === "false") return "none";
    return forced === "3" ? "truecolor" : terminalColors(env) === "truecolor" ? "truecolor" : "ansi256";
  }
  if (env.NO_COLOR !== undefined && env.NO_COLOR !== "") return "none";
  return isTTY ? terminalColors(env) : "none";
}

/** Cells per line: COLUMNS where it is set, else the terminal's own width, else 80. */
export function terminalWidth(env: Environment, columns: number | undefined): number {
  const wanted = Number(env.COLUMNS);
  if (Number.isInteger(wanted) && wanted > 0) return wanted;
  return columns !== undefined && columns > 0 ? columns : 80;
}

function terminalColors(env: Environment): ColorDepth {
  const term = env.TERM ?? "";
  if (term === "dumb") return "none";
  if (env.COLORTERM === "truecolor" || env.COLORTERM === "24bit" || /-direct$/.test(term)) return "truecolor";
  if (env.WT_SESSION !== undefined) return "truecolor";
  return /256|^(xterm|screen|tmux|rxvt|alacritty|foot|konsole)/.test(term) ? "ansi256" : "none";
}

/** No when the locale is set to something else than UTF-8, or the console has no such font. */
function showsUnicode(env: Environment): boolean {
  if (env.TERM === "dumb" || env.TERM === "linux") return false;
  const locale = env.LC_ALL || env.LC_CTYPE || env.LANG || "";
  return locale === "" || /utf-?8/i.test(locale);
}
