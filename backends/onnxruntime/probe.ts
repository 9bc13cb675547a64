// Asks a provider to run a graph of one node, in a process of its own: drivers write to stderr as they please, and a
// broken one may take the process with it.
import { fork } from "node:child_process";
import type { ProviderName } from "./providers.ts";

const TIMEOUT_MS = 30_000;

/** What the child says; `failure` is null when the graph ran. */
export interface ProbeReply {
  readonly failure: string | null;
}

/** Why the provider cannot run a graph here, in a few words; null when it can. */
export function probe(provider: ProviderName): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const child = fork(new URL("./probe-process.js", import.meta.url), [provider], {
      stdio: "ignore",
      timeout: TIMEOUT_MS,
    });
    let reply: ProbeReply | undefined;
    child.on("message", (message: ProbeReply) => {
      reply = message;
    });
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      if (reply === undefined) resolve(`trying it ended with ${signal ?? `exit code ${code}`}`);
      else resolve(reply.failure);
    });
  });
}
