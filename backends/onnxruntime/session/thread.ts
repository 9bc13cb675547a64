// The thread that runs a session's graph, as the session sees it: one of its own, or the one that owns the device.
import { type MessagePort, Worker } from "node:worker_threads";
import { goneMessage } from "../device/client.ts";
import { openDeviceLanes } from "../device/lanes.ts";
import { PROVIDERS } from "../providers.ts";
import type { Reply, SessionSetup } from "./protocol.ts";

/** What requests go to and replies come from, and how it ends. */
export interface SessionThread {
  readonly channel: Worker | MessagePort;
  /** Settles when nothing more will come, with the reason if nobody asked for that. */
  readonly ended: Promise<Error>;
}

/** Starts the thread of a session, or takes a share of the device's. */
export function openSessionThread(
  setup: SessionSetup,
  shared: boolean,
): SessionThread | Promise<SessionThread> {
  return shared ? sharedThread(setup) : ownThread(setup);
}

function ownThread(setup: SessionSetup): SessionThread {
  const { path } = setup.graph;
  const worker = new Worker(new URL("./worker.js", import.meta.url), { workerData: setup });
  let crash: Error | null = null;
  worker.on("error", (cause) => {
    crash = new Error(`The thread that runs ${path} crashed: ${cause}`, { cause });
  });
  const ended = new Promise<Error>((resolve) => {
    worker.on("exit", (code) =>
      resolve(crash ?? new Error(`The thread that runs ${path} stopped with code ${code}`)),
    );
  });
  return { channel: worker, ended };
}

async function sharedThread(setup: SessionSetup): Promise<SessionThread> {
  const { name, lanes, backend } = PROVIDERS[setup.provider];
  const device = await openDeviceLanes({ name, lanes });
  const port = device.connectSession(setup);
  const gone = new Promise<void>((resolve) => {
    port.on("message", ({ kind }: Reply) => kind === "closed" && resolve());
    port.on("close", resolve);
    void device.death.then(resolve);
  });
  const ended = gone.then(async () => {
    port.close();
    await device.close();
    return new Error(goneMessage(backend));
  });
  return { channel: port, ended };
}
