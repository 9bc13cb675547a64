// The backends `onnxruntime-cpu`, `cuda` and `webgpu`: one driver over onnxruntime-node, a row of providers.ts each.
import { availableParallelism } from "node:os";
import type { Backend, BackendEntry, BackendOptions, GraphSession, GraphSource } from "../../src/backend.ts";
import { BackendUnavailableError, UsageError } from "../../src/errors.ts";
import { PROVIDERS, type Provider, providerAvailability } from "./providers.ts";

// Counts up whenever this driver's numbers may change for another reason than the runtime and the kernels.
const DRIVER_VERSION = "4";

export const cpu: BackendEntry = entryOf(PROVIDERS.cpu);
export const cuda: BackendEntry = entryOf(PROVIDERS.cuda);
export const webgpu: BackendEntry = entryOf(PROVIDERS.webgpu);

function entryOf(provider: Provider): BackendEntry {
  return {
    name: provider.backend,
    capabilities: ["singularValues", "session"],
    exact: provider.precisions.includes("exact"),
    computeDtypes: provider.computeDtypes,
    float8Weights: provider.float8,
    availability: () => providerAvailability(provider),
    open: (options) => openProvider(provider, options),
  };
}

async function openProvider(provider: Provider, options: BackendOptions): Promise<Backend> {
  const { threads = availableParallelism() } = options;
  if (!Number.isSafeInteger(threads) || threads < 1) {
    throw new UsageError(
      `Cannot open the backend ${provider.backend} with ${threads} threads: expected a whole number from 1`,
    );
  }
  const available = await providerAvailability(provider);
  if (!available.ok) {
    throw new BackendUnavailableError(
      `Cannot open the backend ${provider.backend}: ${available.reason}; ${available.fix}`,
    );
  }
  const { openSession } = await import("./session/session.ts");
  const { env } = await import("onnxruntime-node");
  const { openPool } = await import("./singular-values/pool.ts");
  const pool = await openPool(provider, { ...options, threads });
  const sessions = new Set<GraphSession>();
  let closed = false;

  async function session(graph: GraphSource): Promise<GraphSession> {
    if (closed) throw closedError(provider);
    const opened = await openSession({ graph, provider: provider.name, threads });
    sessions.add(opened);
    if (!closed) return opened;
    await opened.close();
    throw closedError(provider);
  }

  async function close(): Promise<void> {
    closed = true;
    await Promise.all([pool.close(), ...[...sessions].map((opened) => opened.close())]);
  }

  return {
    name: provider.backend,
    computeDtypes: provider.computeDtypes,
    float8Weights: provider.float8,
    version: `${DRIVER_VERSION}-${env.versions.node}-${pool.version}`,
    precision: pool.precision,
    concurrency: pool.concurrency,
    singularValues: (matrix) => pool.singularValues(matrix),
    session,
    close,
    [Symbol.asyncDispose]: close,
  };
}

function closedError(provider: Provider): Error {
  return new Error(`The backend ${provider.backend} was closed`);
}
