// How commands that take --data get at it: the download of a Hub dataset, the packing, and records that are left out.
import {
  type DownloadState,
  fetchDataset,
  type PackingProgress,
  renderDownload,
  renderPacking,
} from "../index.ts";
import type { CommandContext } from "./command.ts";
import { progressReporter } from "./progress.ts";
import type { Terminal } from "./terminal.ts";

/** Brings a dataset onto this machine, showing the download where there is one; what is not there is an error. */
export async function fetchNamedDataset(
  reference: string,
  { offline }: { readonly offline: boolean },
  { terminal, signal }: Pick<CommandContext, "terminal" | "signal">,
): Promise<void> {
  const progress = progressReporter<DownloadState>(terminal, renderDownload);
  const began = performance.now();
  try {
    await fetchDataset(reference, {
      ...(offline && { offline }),
      onProgress: (state) => progress.report({ ...state, elapsedMs: performance.now() - began }),
      signal,
    });
  } finally {
    terminal.clearStatus();
  }
}

/** What the SDK is to tell while it packs: how far it is, and each record that is left out. */
export function watchPacking(terminal: Terminal) {
  const progress = progressReporter<PackingProgress>(terminal, renderPacking);
  return {
    onProgress(state: PackingProgress) {
      progress.report(state);
      if (state.bytes === state.totalBytes) terminal.clearStatus();
    },
    onSkip: (bad: { readonly file: string; readonly line: number; readonly reason: string }) =>
      terminal.printNote(`${bad.file}, line ${bad.line} is left out: ${bad.reason}`),
  };
}
