// A session's thread: `run` blocks the thread it is called on, so each session has one, unless its provider's share one. Started
// by session.ts, and ends when told: ending it from outside during a run would abort the process.
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { failure, opened, reply, run } from "./answers.ts";
import { type LoadedGraph, loadGraph } from "./loaded-graph.ts";
import type { Request, SessionSetup } from "./protocol.ts";

const port = parentPort;
if (port === null) throw new Error("worker.js is started by the onnxruntime backend, not by hand");
const setup: SessionSetup = workerData;

/** Ends this thread alone. Closing the port would do in Node, but Deno's has no such method. */
function end(): void {
  process.exit();
}

function serve(graph: LoadedGraph, port: MessagePort): void {
  let last: Promise<void> = Promise.resolve();
  port.on("message", (request: Request) => {
    last = last.then(async () => {
      if (request.kind === "run") return reply(port, await run(graph, request).catch(failure));
      await graph.release();
      end();
    });
  });
  reply(port, opened(graph));
}

try {
  serve(await loadGraph(setup), port);
} catch (error) {
  reply(port, failure(error));
  end();
}
