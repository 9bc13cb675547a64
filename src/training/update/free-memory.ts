// Gives the memory of arrays back at once: a step's gradients are large, and so little else is made in a step that the
// garbage collector would let those of several steps gather.
import { MessageChannel } from "node:worker_threads";

/** Frees arrays, which are empty from then on. */
export function freeMemory(arrays: Iterable<Float32Array<ArrayBuffer>>): void {
  const { port1, port2 } = new MessageChannel();
  // What is sent to a port that closes unread is dropped, and its memory with it.
  const buffers = [...arrays].map(({ buffer }) => buffer);
  port1.postMessage(null, buffers);
  port2.close();
  port1.close();
}
