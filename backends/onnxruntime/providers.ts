// The execution providers of ONNX Runtime that are backends here, and what each needs. To add one, add its row.
import type { Availability, ComputeDType, Precision } from "../../src/backend.ts";
import { refuseTelemetry } from "./telemetry.ts";

/** How ONNX Runtime calls a provider. */
export type ProviderName = "cpu" | "cuda" | "webgpu";

/** A row of the table. */
export interface Provider {
  readonly name: ProviderName;
  /** Name of the backend. */
  readonly backend: string;
  /** Whether it computes on `int64` inputs; where not, the driver makes them `int32`. */
  readonly int64: boolean;
  /**
   * In what it computes. CPU: float16 in float32 between rounding casts that the runtime inserts, of which it drops some;
   * of bfloat16 it knows casts and copies alone. WebGPU has no bfloat16; float16 needs a device with `shader-f16`.
   */
  readonly computeDtypes: readonly ComputeDType[];
  /** Whether it multiplies doubles; where not, Gram matrices are products of floats. */
  readonly float64: boolean;
  /** Whether results of one run can stay where they are, for the next: onnxruntime-node 1.30 offers that on WebGPU alone. */
  readonly keepsTensors: boolean;
  /**
   * Threads that run graphs for singular values on the device. Two where each run waits for its own transfers, so that one's
   * are under way while the other's products are computed; one where sessions share a queue and must not run at once.
   */
  readonly lanes: number;
  /**
   * Whether the sessions of a process are all on the thread that owns the device: two of WebGPU that run at once on two threads
   * end the process, or fail.
   */
  readonly sharesThread: boolean;
  /** Of singular values, the first one where another is asked for. */
  readonly precisions: readonly [Precision, ...Precision[]];
  /** Whether it decodes weights of 8-bit floats. CUDA takes scales by block for 4 bits alone, WebGPU has no such dtype. */
  readonly float8: boolean;
  /** What to install or set where it cannot run. */
  readonly fix: string;
}

/** The table. */
export const PROVIDERS: Readonly<Record<ProviderName, Provider>> = {
  cpu: {
    name: "cpu",
    backend: "onnxruntime-cpu",
    int64: true,
    computeDtypes: ["float32", "float16"],
    float64: true,
    keepsTensors: false,
    lanes: 1,
    sharesThread: false,
    precisions: ["exact", "fast"],
    float8: true,
    fix: "use linux, Windows or macOS on a 64-bit processor that onnxruntime-node has a binary for (macOS: Apple silicon)",
  },
  cuda: {
    name: "cuda",
    backend: "cuda",
    int64: true,
    computeDtypes: ["float32", "float16", "bfloat16"],
    float64: true,
    keepsTensors: false,
    lanes: 2,
    sharesThread: false,
    precisions: ["exact"],
    float8: false,
    fix: "on linux x64 with CUDA 12 and cuDNN 9, install the provider with `node node_modules/onnxruntime-node/script/install --onnxruntime-node-install=cuda12`, or choose onnxruntime-cpu",
  },
  webgpu: {
    name: "webgpu",
    backend: "webgpu",
    int64: false,
    computeDtypes: ["float32", "float16"],
    float64: false,
    keepsTensors: true,
    lanes: 1,
    sharesThread: true,
    precisions: ["fast"],
    float8: false,
    fix: "install the graphics driver (on linux its Vulkan driver and libvulkan1), or choose onnxruntime-cpu",
  },
};

/** The runtime's own word on whether a provider can run here. */
export async function providerAvailability(provider: Provider): Promise<Availability> {
  const reason = await reasonAgainst(provider.name);
  return reason === null ? { ok: true } : { ok: false, reason, fix: provider.fix };
}

/** Trying a device starts a process: once is enough, it does not come or go while this one runs. */
const reasons = new Map<ProviderName, Promise<string | null>>();

function reasonAgainst(name: ProviderName): Promise<string | null> {
  const known = reasons.get(name) ?? findReason(name);
  reasons.set(name, known);
  return known;
}

async function findReason(name: ProviderName): Promise<string | null> {
  let runtime: typeof import("onnxruntime-node");
  try {
    // Before the first import in this process: every other comes after a provider was found to be available.
    refuseTelemetry();
    runtime = await import("onnxruntime-node");
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return `onnxruntime-node does not load (${message.split("\n")[0]})`;
  }
  if (name === "cpu") return null;
  if (!runtime.listSupportedBackends().some((backend) => backend.name === name))
    return `this build of onnxruntime-node has no ${name} provider`;
  const { probe } = await import("./probe.ts");
  return probe(name);
}
