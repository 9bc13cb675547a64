// The thread that owns a device: `run` blocks the thread that calls it, and sessions of one device must not run on two
// threads at once. Those that reduce matrices ask it for Gram matrices, sessions for runs of their graphs, each through a port
// of its own.
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { PROVIDERS, type ProviderName } from "../providers.ts";
import { failure, opened, reply, run } from "../session/answers.ts";
import { type LoadedGraph, loadGraph } from "../session/loaded-graph.ts";
import type { Request, SessionSetup } from "../session/protocol.ts";
import { Device, type DeviceWork, deviceWork } from "./device.ts";
import type { DeviceReply, DeviceRequest } from "./protocol.ts";
import { Turns } from "./turns.ts";

/** From the thread that started this one. */
export type DeviceOrder =
  | { readonly kind: "connect"; readonly port: MessagePort }
  | { readonly kind: "session"; readonly port: MessagePort; readonly setup: SessionSetup }
  | { readonly kind: "stop" };

/** What this thread is started with. */
export interface DeviceStart {
  readonly provider: ProviderName;
}

/** Somebody who asks. */
interface Connected {
  readonly port: MessagePort;
  readonly requests: (() => Promise<void>)[];
  /** Gives back what the device holds for it. */
  readonly drop: () => Promise<void> | void;
}

const orders = parentPort;
if (orders === null) throw new Error("device/worker.js is started by the onnxruntime backend, not by hand");
const { provider }: DeviceStart = workerData;
const device = new Device(PROVIDERS[provider]);
const turns = new Turns<Connected>();
const connected = new Set<Connected>();
let working: Promise<void> | null = null;
let atWork: Connected | null = null;
let isStopping = false;

/** Whoever asks for products of matrices. */
interface MatrixClient extends Connected {
  /** What was begun; null before the first one. */
  work: DeviceWork | null;
}

function connect(port: MessagePort): void {
  const client: MatrixClient = {
    port,
    requests: [],
    work: null,
    drop: () => {
      if (client.work !== null) device.drop(client.work);
    },
  };
  join(client);
  port.on("message", (request: DeviceRequest) => {
    if (request.kind === "begin") turns.begin(client);
    ask(client, () => serve(client, request));
  });
}

/** Each run stands in line as a matrix does: it waits for those begun before it, and goes before those begun later. */
function connectSession(port: MessagePort, setup: SessionSetup): void {
  let graph: LoadedGraph | null = null;
  const client: Connected = {
    port,
    requests: [],
    drop: async () => {
      const loaded = graph;
      graph = null;
      await loaded?.release();
    },
  };
  const askInLine = (request: () => Promise<void>) => {
    turns.begin(client);
    ask(client, request);
  };
  const close = async () => {
    await client.drop();
    reply(port, { kind: "closed" });
    port.close();
  };
  join(client);
  askInLine(async () => {
    try {
      graph = await loadGraph(setup);
      reply(port, opened(graph));
    } catch (error) {
      reply(port, failure(error));
      await close();
    }
  });
  port.on("message", (request: Request) => {
    askInLine(async () => {
      if (request.kind === "stop") return close();
      if (graph !== null) reply(port, await run(graph, request).catch(failure));
    });
  });
}

function join(client: Connected): void {
  connected.add(client);
  client.port.on("close", () => {
    connected.delete(client);
    turns.end(client);
    if (client !== atWork) void client.drop();
  });
}

function ask(client: Connected, request: () => Promise<void>): void {
  client.requests.push(request);
  working ??= work();
}

async function work(): Promise<void> {
  for (let client = turns.next(); client !== null && !isStopping; client = turns.next()) {
    atWork = client;
    await client.requests.shift()?.();
    // Whoever left meanwhile may have left something on the device.
    if (!connected.has(client)) await client.drop();
  }
  atWork = null;
  working = null;
}

async function serve(client: MatrixClient, request: DeviceRequest): Promise<void> {
  if (request.kind === "begin") {
    if (client.work !== null) device.drop(client.work);
    client.work = deviceWork(request.matrix);
    return;
  }
  const answered: DeviceReply = await answer(client, request).catch(failure);
  const buffers = answered.kind === "numbers" ? answered.numbers.map(({ buffer }) => buffer) : [];
  client.port.postMessage(answered, buffers);
}

async function answer(
  { work }: MatrixClient,
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
  else if (order.kind === "session") connectSession(order.port, order.setup);
  else void stop();
});
