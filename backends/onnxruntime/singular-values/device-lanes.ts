// The threads that own a device, as the thread sees them that opens the backend: all backends of this process that are
// open on the same device share them.
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import type { Provider, ProviderName } from "../providers.ts";
import type { DeviceOrder, DeviceStart } from "./device-worker.ts";

/** What the threads of one backend connect to. Owns its share of the device's threads until closed. */
export interface DeviceLanes {
  /** A port to one of them, for another thread; taken by turns. */
  connect(): MessagePort;
  close(): Promise<void>;
}

interface Lanes {
  readonly workers: readonly Worker[];
  readonly exits: readonly Promise<void>[];
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
  const lanes = open.get(name) ?? start(name, count);
  open.set(name, lanes);
  lanes.users++;
  let isOpen = true;
  return {
    connect: () => connect(lanes),
    async close() {
      if (!isOpen) return;
      isOpen = false;
      lanes.users--;
      if (lanes.users > 0) return;
      open.delete(name);
      const end = stop(lanes).finally(() => ending.delete(name));
      ending.set(name, end);
      await end;
    },
  };
}

function start(provider: ProviderName, count: number): Lanes {
  const workers = Array.from({ length: count }, () => {
    const workerData: DeviceStart = { provider };
    const worker = new Worker(new URL("./device-worker.js", import.meta.url), { workerData });
    worker.on("error", () => {}); // whoever waits for it sees its port close
    worker.unref(); // those that wait for it keep the process alive
    return worker;
  });
  const exits = workers.map((worker) => new Promise<void>((resolve) => worker.on("exit", () => resolve())));
  return { workers, exits, users: 0, connections: 0 };
}

function connect(lanes: Lanes): MessagePort {
  const { port1, port2 } = new MessageChannel();
  const worker = lanes.workers[lanes.connections++ % lanes.workers.length];
  const order: DeviceOrder = { kind: "connect", port: port2 };
  worker?.postMessage(order, [port2]);
  return port1;
}

async function stop({ workers, exits }: Lanes): Promise<void> {
  const order: DeviceOrder = { kind: "stop" };
  for (const worker of workers) {
    worker.ref();
    worker.postMessage(order);
  }
  await Promise.all(exits);
}
