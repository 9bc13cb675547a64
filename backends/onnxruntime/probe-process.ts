// The process that probe.ts starts: runs y = x + x on the provider that it is told.
import { InferenceSession, Tensor } from "onnxruntime-node";
import type { ProbeReply } from "./probe.ts";

const GRAPH = "CAgSADo1Cg4KAXgKAXgSAXkiA0FkZBIBcFoPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEBE=";

async function attempt(provider: string): Promise<string | null> {
  try {
    const session = await InferenceSession.create(Buffer.from(GRAPH, "base64"), {
      executionProviders: [provider],
    });
    const { y } = await session.run({ x: new Tensor("float32", Float32Array.of(2), [1]) });
    return y?.data[0] === 4 ? null : `2 + 2 gave ${y?.data[0]}`;
  } catch (error) {
    return summarise(error instanceof Error ? error.message : String(error));
  }
}

/** The runtime's message without the C++ function that it begins with. */
function summarise(message: string): string {
  const [first = ""] = message.trim().split("\n");
  return first.replace(/^.* was false\. /, "").slice(0, 300);
}

const reply: ProbeReply = { failure: await attempt(process.argv[2] ?? "") };
process.send?.(reply, () => process.exit());
