// A graph in its thread: one session, or for providers that need every dimension fixed one for the shapes at hand.
import { readFile } from "node:fs/promises";
import { InferenceSession } from "onnxruntime-node";
import type { FoldedWeights, GraphDType } from "../../../src/backend.ts";
import { PROVIDERS } from "../providers.ts";
import { unfixedGraph } from "./fixed-graph.ts";
import { checkNoFloat8 } from "./float8.ts";
import { checkFloat16 } from "./float16.ts";
import { sessionOptions } from "./options.ts";
import type { NamedTensors, NamedTypes, SessionSetup } from "./protocol.ts";

/** A graph that can be run. */
export interface LoadedGraph {
  readonly inputs: NamedTypes;
  readonly outputs: NamedTypes;
  readonly folded: readonly FoldedWeights[];
  /** The session that takes these feeds. */
  sessionFor(feeds: NamedTensors): Promise<InferenceSession>;
  release(): Promise<void>;
}

/** Loads a graph. @throws Error when it holds what the provider cannot read, or the runtime refuses it. */
export async function loadGraph(setup: SessionSetup): Promise<LoadedGraph> {
  const { int64, float8 } = PROVIDERS[setup.provider];
  if (!float8) checkNoFloat8(await readFile(setup.graph.path), setup.provider);
  return int64 ? loadOnce(setup) : loadByShape(setup);
}

async function loadOnce(setup: SessionSetup): Promise<LoadedGraph> {
  const session = await InferenceSession.create(setup.graph.path, sessionOptions(setup));
  return {
    inputs: typesOf(session.inputMetadata),
    outputs: typesOf(session.outputMetadata),
    folded: [],
    sessionFor: async () => session,
    release: () => session.release(),
  };
}

/** The last shapes' session is kept: shapes change at the end of an epoch, if at all. */
async function loadByShape(setup: SessionSetup): Promise<LoadedGraph> {
  const graph = unfixedGraph(await readFile(setup.graph.path));
  if (graph.usesFloat16) await checkFloat16(setup.provider);
  // The provider has no int64 but in the indices of an ArgMax: such an output ends on the CPU, a few integers.
  const strict = graph.outputs.every(([, dtype]) => dtype !== "int64");
  let shapes = "";
  let session: InferenceSession | null = null;
  return {
    inputs: graph.inputs,
    outputs: graph.outputs,
    folded: graph.folded,
    async sessionFor(feeds) {
      const wanted = JSON.stringify(feeds.map(([name, { shape }]) => [name, shape]));
      if (session !== null && shapes === wanted) return session;
      await session?.release();
      session = await InferenceSession.create(graph.fixedFor(feeds), sessionOptions(setup, strict));
      shapes = wanted;
      return session;
    },
    release: async () => session?.release(),
  };
}

function typesOf(metadata: readonly InferenceSession.ValueMetadata[]): NamedTypes {
  return metadata.map((value) => {
    if (!value.isTensor || !isGraphDType(value.type))
      throw new TypeError(`${value.name} is ${value.isTensor ? value.type : "no tensor"}`);
    return [value.name, value.type];
  });
}

function isGraphDType(type: string): type is GraphDType {
  return type === "float32" || type === "int64" || type === "int32";
}
