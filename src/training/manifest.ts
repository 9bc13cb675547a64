// manifest.json of training artifacts, schema version 1: what is in the folder, and what each graph takes and gives.

import type { ComputeDType } from "../backend.ts";

/** Version of the schema below. */
export const MANIFEST_VERSION = 1;

/** An input or output of a graph. A dimension that varies is its name: `batch`, `sequence`. */
export interface GraphValue {
  readonly name: string;
  readonly dtype: "float32" | "int64" | "int32";
  readonly shape: readonly (number | string)[];
}

/** One graph of the artifacts. */
export interface GraphFile {
  /** Path inside the folder. */
  readonly file: string;
  readonly inputs: readonly GraphValue[];
  readonly outputs: readonly GraphValue[];
}

/** A parameter that trains: input `name`, output `<name>.grad` of the training graph. */
export interface TrainableParameter {
  /** The checkpoint's tensor name; `<tensor>.new_rows` for rows added to an embedding or head. */
  readonly name: string;
  /** The checkpoint's tensor that it is, or that its rows are added to. */
  readonly tensor: string;
  readonly shape: readonly number[];
  /** Whether AdamW's weight decay applies: not to norms and biases. */
  readonly decay: boolean;
  /** First row of the extended tensor that `new_rows` stand for; null for a whole tensor. */
  readonly firstRow: number | null;
}

/** A token that the base tokenizer lacked. */
export interface AddedToken {
  readonly content: string;
  readonly id: number;
}

/** Constants of the optimizer graph. */
export interface AdamWConstants {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
}

/** The document `manifest.json`. */
export interface Manifest {
  readonly schemaVersion: typeof MANIFEST_VERSION;
  readonly tool: { readonly name: string; readonly version: string };
  /** The base model; hashes come from the Hub or a scan and may be missing. */
  readonly model: {
    readonly id: string;
    readonly revision: string | null;
    readonly files: readonly {
      readonly name: string;
      readonly sizeBytes: number;
      readonly sha256?: string;
    }[];
  };
  readonly form: "standard" | "ort-training";
  readonly opset: number;
  /** In what the graphs compute between their inputs and outputs, which are float32 all the same. */
  readonly computeDtype: ComputeDType;
  /** Whether the backward pass computes each layer's activations again. */
  readonly recompute: "none" | "layers";
  readonly weights: "reference" | "copy";
  /** Real folder that external data is relative to: the model's for `reference`; null for `copy`, which is its own. */
  readonly weightsFolder: string | null;
  readonly selection: {
    /** Where the names came from: a selection file, or the rule. */
    readonly source: string;
    readonly parameterNames: readonly string[];
  };
  readonly chatTemplate: "chatml" | "model" | "none";
  readonly addedTokens: readonly AddedToken[];
  /** Rows of the embedding, new ones included. */
  readonly vocabularySize: number;
  /** Longest sequence that the positions of the model allow. */
  readonly maxSequence: number;
  readonly parameters: readonly TrainableParameter[];
  readonly training: GraphFile;
  readonly evaluation: GraphFile;
  readonly optimizer: GraphFile & AdamWConstants;
  /** Folder of the initial trainable parameters and optimizer state. */
  readonly checkpoint: string;
}
