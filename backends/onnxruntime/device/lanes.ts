// The threads that own a device, as the thread sees them that opens the backend: all backends of this process that are
// open on the same device share them, and with them the sessions of graphs, where these are not to have threads of their own.
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import type { Provider, ProviderName } from "../providers.ts";
import type { SessionSetup } from "../session/protocol.ts";
import type { DeviceOrder, DeviceStart } from "./worker.ts";

/** What the threads of one backend connect to. Owns its share of the device's threads until closed. */
export interface DeviceLanes {
  /** A port to one of them, for another thread; taken by turns. */
  connect(): MessagePort;
  /** A port to one of them that loads a graph and runs it. */
  connectSession(setup: SessionSetup): MessagePort;
  /** Settles when one of the threads has ended before it was asked to: a port need not say so to a thread that is still starting. */
  readonly death: Promise<void>;
  close(): Promise<void>;
}

interface Lane {
  readonly worker: Worker;
  readonly exit: Promise<void>;
  isGone: boolean;
  isStopping: boolean;
}

interface Lanes {
  readonly all: readonly Lane[];
  readonly death: Promise<void>;
  users: number;
  connections: number;
}

const open = new Map<ProviderName, Lanes>();
/** Threads of devices that are still at work for those who closed them: no others may be started meanwhile. */
const ending = new Map<ProviderName, Promise<void>>();

/** Starts the threads of a device, or takes a share of those that run. */
export async function openDeviceLanes({
  name,
  lanes: count,
}: Pick<Provider, "name" | "lanes">): Promise<DeviceLanes> {
  await ending.get(name);
  const lanes = running(name) ?? start(name, count);
  open.set(name, lanes);
  lanes.users++;
  let isOpen = true;
  return {
    connect: () => connect(lanes, (port) => ({ kind: "connect", port })),
    connectSession: (setup) => connect(lanes, (port) => ({ kind: "session", port, setup })),
    death: lanes.death,
    async close() {
      if (!isOpen) return;
      isOpen = false;
      lanes.users--;
      if (lanes.users > 0) return;
      if (open.get(name) !== lanes) return stop(lanes); // one of them has died, and others have taken their place
      open.delete(name);
      const end = stop(lanes).finally(() => ending.delete(name));
      ending.set(name, end);
      await end;
    },
  };
}

/** Those that are open on a device; null where there are none, or one has died. */
function running(name: ProviderName): Lanes | null {
  const lanes = open.get(name);
  return lanes?.all.some(({ isGone }) => isGone) ? null : (lanes ?? null);
}

function start(provider: ProviderName, count: number): Lanes {
  const all = Array.from({ length: count }, () => startLane(provider));
  const death = new Promise<void>((resolve) => {
    for (const lane of all) void lane.exit.then(() => !lane.isStopping && resolve());
  });
  return { all, death, users: 0, connections: 0 };
}

function startLane(provider: ProviderName): Lane {
  const workerData: DeviceStart = { provider };
  const worker = new Worker(new URL("./worker.js", import.meta.url), { workerData });
  worker.on("error", () => {}); // whoever waits for it sees its port close
  worker.unref(); // those that wait for it keep the process alive
  const exit = new Promise<void>((resolve) => worker.on("exit", () => resolve()));
  const lane: Lane = { worker, exit, isGone: false, isStopping: false };
  void exit.then(() => {
    lane.isGone = true;
  });
  return lane;
}

function connect(lanes: Lanes, orderFor: (port: MessagePort) => DeviceOrder): MessagePort {
  const { port1, port2 } = new MessageChannel();
  const lane = lanes.all[lanes.connections++ % lanes.all.length];
  lane?.worker.postMessage(orderFor(port2), [port2]);
  return port1;
}

async function stop({ all }: Lanes): Promise<void> {
  const order: DeviceOrder = { kind: "stop" };
  for (const lane of all) {
    lane.isStopping = true;
    lane.worker.ref();
    lane.worker.postMessage(order);
  }
  await Promise.all(all.map(({ exit }) => exit));
}
