// The threads that compute singular values with ONNX Runtime: the wasm backend's pool with threads of this driver's own,
// and those of the device, if any.
import type { Backend, BackendOptions, MatrixSource } from "../../../src/backend.ts";
import { WasmBackend } from "../../wasm/pool.ts";
import { goneMessage } from "../device/client.ts";
import type { DeviceGramOptions } from "../device/gram.ts";
import { type DeviceLanes, openDeviceLanes } from "../device/lanes.ts";
import type { Provider } from "../providers.ts";
import { stageOrder } from "./stage-cost.ts";

/** What of a provider's row matters here. */
export type PoolProvider = Pick<
  Provider,
  "name" | "backend" | "precisions" | "float64" | "lanes" | "keepsTensors"
>;

/** Matrices more than there are threads, of which those wait for the device: the next ones are on it meanwhile. */
const AHEAD = 1;

/** The pool of an open backend. */
export type Pool = Backend & Required<Pick<Backend, "singularValues">>;

/** Opens the pool: the thread of a device starts, the others when they are needed. */
export async function openPool(
  { backend, name, precisions, float64, lanes, keepsTensors }: PoolProvider,
  { threads, precision }: Required<BackendOptions>,
  isDevice = name !== "cpu",
): Promise<Pool> {
  const device = isDevice ? await openDeviceLanes({ name, lanes }) : null;
  const deviceOptions: DeviceGramOptions = {
    floats: !float64,
    stageOrder: keepsTensors && !float64 ? stageOrder(threads) : Number.POSITIVE_INFINITY,
  };
  const url = new URL("./worker.js", import.meta.url);
  const pool = new WasmBackend(
    threads + (device === null ? 0 : AHEAD * lanes),
    precisions.includes(precision) ? precision : precisions[0],
    {
      backend,
      url,
      workerData: { backend, deviceOptions },
      helps: false,
      connect: device === null ? null : () => device.connect(),
    },
  );
  return device === null ? pool : withDevice(pool, { backend, device, stageOrder: deviceOptions.stageOrder });
}

/** The same pool, which closes its share of the device as well; where stage one is done is part of the numerics. */
function withDevice(
  pool: WasmBackend,
  {
    backend,
    device,
    stageOrder,
  }: { readonly backend: string; readonly device: DeviceLanes; readonly stageOrder: number },
): Pool {
  const close = async () => {
    await Promise.all([pool.close(), device.close()]);
  };
  /** What ends the wait for matrices at work: of a promise for all of them each would keep what it waited for. */
  const waiting = new Set<(error: Error) => void>();
  let death: Error | null = null;
  void device.death.then(() => {
    death = new Error(goneMessage(backend));
    for (const refuse of waiting) refuse(death);
  });
  const singularValues = (matrix: MatrixSource) =>
    new Promise<Float64Array>((resolve, reject) => {
      if (death !== null) throw death;
      waiting.add(reject);
      pool
        .singularValues(matrix)
        .finally(() => waiting.delete(reject))
        .then(resolve, reject);
    });
  return {
    name: pool.name,
    version: Number.isFinite(stageOrder) ? `stage${stageOrder}-${pool.version}` : pool.version,
    precision: pool.precision,
    concurrency: pool.concurrency,
    singularValues,
    close,
    [Symbol.asyncDispose]: close,
  };
}
