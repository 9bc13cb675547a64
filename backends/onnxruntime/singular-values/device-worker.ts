// The thread that owns a device: `run` blocks the thread that calls it, and sessions of one device must not run on two
// threads at once. Those that reduce matrices ask it for Gram matrices, each through a port of its own.
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { PROVIDERS, type ProviderName } from "../providers.ts";
import { Device, type DeviceWork, deviceWork } from "./device.ts";
import type { DeviceReply, DeviceRequest } from "./device-protocol.ts";
import { Turns } from "./turns.ts";

/** From the thread that started this one. */
export type DeviceOrder =
  | { readonly kind: "connect"; readonly port: MessagePort }
  | { readonly kind: "stop" };

/** What this thread is started with. */
export interface DeviceStart {
  readonly provider: ProviderName;
}

interface Connected {
  readonly port: MessagePort;
  readonly requests: DeviceRequest[];
  /** What was begun; null before the first one. */
  work: DeviceWork | null;
}

const orders = parentPort;
if (orders === null) throw new Error("device-worker.js is started by the onnxruntime backend, not by hand");
const { provider }: DeviceStart = workerData;
const device = new Device(PROVIDERS[provider]);
const turns = new Turns<Connected>();
const connected = new Set<Connected>();
let working: Promise<void> | null = null;
let isStopping = false;

function connect(port: MessagePort): void {
  const client: Connected = { port, requests: [], work: null };
  connected.add(client);
  port.on("message", (request: DeviceRequest) => {
    if (request.kind === "begin") turns.begin(client);
    client.requests.push(request);
    working ??= work();
  });
  port.on("close", () => {
    connected.delete(client);
    turns.end(client);
    if (client.work !== null) device.drop(client.work);
  });
}

async function work(): Promise<void> {
  for (let client = turns.next(); client !== null && !isStopping; client = turns.next()) {
    const request = client.requests.shift();
    if (request !== undefined) await serve(client, request);
    // Whoever left meanwhile may have left something on the device after all.
    if (!connected.has(client) && client.work !== null) device.drop(client.work);
  }
  working = null;
}

async function serve(client: Connected, request: DeviceRequest): Promise<void> {
  if (request.kind === "begin") {
    if (client.work !== null) device.drop(client.work);
    client.work = deviceWork(request.matrix);
    return;
  }
  const reply = await answer(client, request).catch(
    (error: unknown): DeviceReply => ({
      kind: "failed",
      message: error instanceof Error ? error.message : String(error),
    }),
  );
  client.port.postMessage(reply, reply.kind === "numbers" ? reply.numbers.map(({ buffer }) => buffer) : []);
}

async function answer(
  { work }: Connected,
  request: Exclude<DeviceRequest, { kind: "begin" }>,
): Promise<DeviceReply> {
  if (work === null) throw new Error("no matrix has been begun");
  return { kind: "numbers", numbers: await device.answer(work, request) };
}

async function stop(): Promise<void> {
  isStopping = true;
  await working;
  for (const { port } of connected) port.close();
  await device.release();
  process.exit(0); // ends this thread alone; Deno's port has no close()
}

orders.on("message", (order: DeviceOrder) => {
  if (order.kind === "connect") connect(order.port);
  else void stop();
});
