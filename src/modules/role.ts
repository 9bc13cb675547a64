// The role of a module, from its name: the type it is ranked in, and whether it embeds or predicts tokens.
import type { ModelModule } from "./module.ts";
import { isPlainStack, type ModulePath, withoutCounters } from "./path.ts";

const EMBEDDING =
  /^(?:wte|wpe|shared|embed|embed_in|pos_embed|relative_attention_bias)$|embed_tokens|embed_positions|embeddings?$/;
const HEAD: ReadonlySet<string> = new Set([
  "lm_head",
  "embed_out",
  "output",
  "proj_out",
  "output_projection",
  "output_layer",
  "generator_lm_head",
  "vocab_projector",
  "lm_head.decoder",
  "decoder",
  "cls.predictions.decoder",
]);

/**
 * The type of a module: modules of one type are ranked together.
 *
 * - In the blocks of a text model: what follows the block's index (`self_attn.q_proj`).
 * - In any other stack of blocks (a vision or audio tower, the encoder and the decoder of a model that has both,
 *   extra prediction layers): the stack's path in front (`vision_tower.encoder.layers.self_attn.q_proj`,
 *   `encoder.block.layer.SelfAttention.q`). A model's only stack counts as its text model.
 * - An expert's index is dropped (`mlp.experts.gate_proj`), and so are indices of blocks within blocks.
 * - Outside the blocks: the whole name, so that each is a type of its own.
 */
export function moduleType(name: string, path: ModulePath, stacks: ReadonlySet<string>): string {
  if (path.stack === null) return withoutCounters(name.split(".")).join(".");
  const role = withoutCounters(path.inner).join(".");
  return isPlainStack(path.stack, stacks)
    ? role
    : `${withoutCounters(path.stack.split(".")).join(".")}.${role}`;
}

/** Whether a matrix is an embedding table (of tokens or positions), an output head, or part of the body. */
export function modulePart(path: ModulePath): ModelModule["part"] {
  const last = path.segments.at(-1) ?? "";
  if (path.stack === null && HEAD.has(path.segments.join("."))) return "head";
  return EMBEDDING.test(last) && !last.includes("patch") && !last.endsWith("norm") ? "embedding" : "body";
}
