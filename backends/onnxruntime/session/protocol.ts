// What a session and its thread say to each other. Tensors travel by transfer: their memory changes hands, uncopied.
import type { FoldedWeights, GraphDType, GraphSource, GraphTensor } from "../../../src/backend.ts";
import type { ProviderName } from "../providers.ts";

/** What the thread loads: given to it as it starts. */
export interface SessionSetup {
  readonly graph: GraphSource;
  readonly provider: ProviderName;
  readonly threads: number;
}

export type NamedTensors = readonly (readonly [name: string, tensor: GraphTensor])[];
export type NamedTypes = readonly (readonly [name: string, dtype: GraphDType])[];

/** To the thread. */
export type Request =
  | { readonly kind: "run"; readonly feeds: NamedTensors; readonly outputs: readonly string[] }
  | { readonly kind: "stop" };

/**
 * From the thread: `opened` or `failed` first, then one `ran` or `failed` for each `run`, in order. A thread that goes on for
 * others says `closed` once it has nothing of the session any more; one of the session's own ends.
 */
export type Reply =
  | {
      readonly kind: "opened";
      readonly inputs: NamedTypes;
      readonly outputs: NamedTypes;
      readonly folded: readonly FoldedWeights[];
    }
  | { readonly kind: "ran"; readonly feeds: NamedTensors; readonly outputs: NamedTensors }
  | { readonly kind: "failed"; readonly message: string }
  | { readonly kind: "closed" };

/** The buffers of tensors, each once. */
export function buffersOf(...groups: readonly NamedTensors[]): ArrayBuffer[] {
  return [...new Set(groups.flat().map(([, { values }]) => values.buffer))];
}
