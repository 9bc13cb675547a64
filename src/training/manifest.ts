// manifest.json of training artifacts, schema version 1: what is in the folder, and what each graph takes and gives.

import type { ComputeDType } from "../backend.ts";

/** Version of the schema below. */
export const MANIFEST_VERSION = 1;

/** What inputs and outputs of graphs are; `standard` graphs take and give the first three alone. */
export const GRAPH_DTYPES = ["float32", "int64", "int32", "bool", "sequence(float32)"] as const;

/** An input or output of a graph. A dimension that varies is its name: `batch`, `sequence`. */
export interface GraphValue {
  readonly name: string;
  readonly dtype: (typeof GRAPH_DTYPES)[number];
  readonly shape: readonly (number | string)[];
}

/** One graph of the artifacts. */
export interface GraphFile {
  /** Path inside the folder. */
  readonly file: string;
  readonly inputs: readonly GraphValue[];
  readonly outputs: readonly GraphValue[];
}

/** A parameter that trains: input `name` of the training graph, whose output is `<name>.grad` in the form `standard`. */
export interface TrainableParameter {
  /** The checkpoint's tensor name; `<tensor>.new_rows` for rows added to an embedding or head. */
  readonly name: string;
  /** The checkpoint's tensor that it is, or that its rows are added to. */
  readonly tensor: string;
  readonly shape: readonly number[];
  /** Whether AdamW's weight decay applies: not to norms and biases, but in the form `ort-training` to everything. */
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
  /** The base model, a folder by its whole path; hashes come from the Hub or a scan and may be missing. */
  readonly model: {
    readonly id: string;
    readonly revision: string | null;
    readonly files: readonly {
      readonly name: string;
      readonly sizeBytes: number;
      readonly sha256?: string;
    }[];
  };
  /** What runs the graphs: any ONNX Runtime, or its training builds up to 1.19.2. */
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
  /** Which rows of embedding and head were asked to train beside the selection. */
  readonly trainEmbeddings: "new-rows" | "all" | "none";
  readonly addedTokens: readonly AddedToken[];
  /** Rows of the embedding, new ones included. */
  readonly vocabularySize: number;
  /** Longest sequence that the positions of the model allow. */
  readonly maxSequence: number;
  readonly parameters: readonly TrainableParameter[];
  readonly training: GraphFile;
  readonly evaluation: GraphFile;
  readonly optimizer: GraphFile & AdamWConstants;
  /** Folder of the initial trainable parameters and optimizer state; in the form `ort-training` a file of all parameters. */
  readonly checkpoint: string;
}

/** The part of a manifest that depends on the form. */
export type ManifestForm = Pick<
  Manifest,
  | "form"
  | "opset"
  | "weights"
  | "weightsFolder"
  | "parameters"
  | "training"
  | "evaluation"
  | "optimizer"
  | "checkpoint"
>;

/** The base model as `openModel` takes its name. */
export function baseModelId({ model }: Pick<Manifest, "model">): string {
  return model.revision === null ? model.id : `${model.id}@${model.revision}`;
}
