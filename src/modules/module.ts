// What the scan ranks: a weight matrix of a model, with the role it plays.
import type { DType } from "../tensor/dtype.ts";

/** `matrix`: ranked by its SNR. `vector`: a norm's weight or a bias; listed, never ranked. `other`: cannot be scored. */
export type ModuleKind = "matrix" | "vector" | "other";

/** A module: one weight tensor of a checkpoint, or one expert's slice of a fused one. */
export interface ModelModule {
  /** The tensor's name without `.weight`; expert i of a fused 3-D tensor is `tensor[i]`. Unique within a model. */
  readonly name: string;
  /** The checkpoint's name of the tensor that holds it. */
  readonly tensor: string;
  /** The role, shared by all modules that are ranked together: `self_attn.q_proj`, `mlp.experts.down_proj`. */
  readonly type: string;
  readonly kind: ModuleKind;
  /** Repeating block it belongs to, counted from 0; null outside the blocks (embedding, head, final norm). */
  readonly layer: number | null;
  /** `embedding` and `head` follow a policy of their own when selecting. */
  readonly part: "body" | "embedding" | "head";
  /** Shape of this module's own weight as stored: the expert's slice where the tensor is fused. */
  readonly shape: readonly number[];
  /** [rows, columns] of the matrix that is scored (convolutions flattened); null unless `kind` is `matrix`. */
  readonly matrix: readonly [rows: number, columns: number] | null;
  readonly dtype: DType;
  /** Index along the first axis of a fused tensor; null when the module is the whole tensor. */
  readonly expert: number | null;
  /** Tensor of the same module that trains with it (`<name>.bias`); null when there is none. */
  readonly bias: string | null;
  /** Tensor of block-wise scales that decoding needs (`weight_scale_inv`); null when there is none. */
  readonly scale: string | null;
  /**
   * Parameter that is the same storage under another name, which the checkpoint may or may not hold
   * (a tied head: `lm_head.weight`); null when there is none. A tied tensor is scored once.
   */
  readonly tiedTo: string | null;
  /** Why it cannot be scored, when `kind` is `other`; null otherwise. */
  readonly reason: string | null;
}
