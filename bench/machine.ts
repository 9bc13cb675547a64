// What a benchmark ran on.
import { arch, cpus, platform, totalmem } from "node:os";

/** One line that says what machine this is. */
export function hardware(): string {
  const [first] = cpus();
  const memory = Math.round(totalmem() / 2 ** 30);
  return `${cpus().length} x ${first?.model.trim() ?? "unknown processor"}, ${memory} GiB, ${platform()} ${arch()}`;
}

/** The runtime and its version. */
export function runtime(): string {
  const { bun, node } = process.versions;
  return bun === undefined ? `Node ${node}` : `Bun ${bun}`;
}
