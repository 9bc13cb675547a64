// A thread of the updater. Started by thread.ts, and ends when told, between two requests.
import { parentPort } from "node:worker_threads";
import { openKernels } from "./kernels.ts";
import { buffersOf, type Reply, type Request } from "./protocol.ts";
import { performTasks, type Task } from "./tasks.ts";

const port = parentPort;
if (port === null) throw new Error("worker.js is started by the updater, not by hand");
const kernels = openKernels();

async function perform(tasks: readonly Task[]): Promise<Reply> {
  try {
    return { kind: "performed", results: await performTasks(kernels, tasks) };
  } catch (error) {
    return { kind: "failed", message: error instanceof Error ? error.message : String(error) };
  }
}

port.on("message", async (request: Request) => {
  // Ends this thread alone. Closing the port would do in Node, but Deno's has no such method.
  if (request.kind === "stop") process.exit();
  const reply = await perform(request.tasks);
  port.postMessage(reply, reply.kind === "performed" ? buffersOf(reply.results.map(({ task }) => task)) : []);
});
