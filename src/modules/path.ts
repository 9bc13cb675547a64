// A tensor's dotted name, read as a place in the model: which stack of blocks, which block, what inside it.

/** Segments that wrap the text model and say nothing about the role. Stripped from the front, repeatedly. */
const WRAPPERS: ReadonlySet<string> = new Set([
  "model",
  "base_model",
  "language_model",
  "text_model",
  "transformer",
  "backbone",
  "gpt_neox",
  "rwkv",
]);

/** Names of the lists that hold a model's blocks: `layers`, `h`, `block`, `mtp_layers`. */
const BLOCK_LIST = /^(?:.*_)?(?:layers?|blocks?|resblocks)$|^h$/;

/** Stacks of a text model whose types need no prefix. */
const PLAIN_STACKS: ReadonlySet<string> = new Set(["layers", "layer", "h", "blocks", "block"]);

const INDEX = /^\d+$/;

/** Where a module stands. */
export interface ModulePath {
  /** The name's segments without the wrappers in front. */
  readonly segments: readonly string[];
  /** Path of the stack of blocks, wrappers stripped (`layers`, `vision_tower.encoder.layers`); null outside the blocks. */
  readonly stack: string | null;
  /** Index of the block in its stack; null outside the blocks. */
  readonly layer: number | null;
  /** Segments after the block's index; outside the blocks, all of them. */
  readonly inner: readonly string[];
}

/** Reads a module's name. The first index that follows a list of blocks is the layer. */
export function parsePath(name: string): ModulePath {
  const segments = stripWrappers(name.split("."));
  const at = segments.findIndex(
    (segment, i) => INDEX.test(segment) && BLOCK_LIST.test(segments[i - 1] ?? ""),
  );
  if (at < 0) return { segments, stack: null, layer: null, inner: segments };
  return {
    segments,
    stack: segments.slice(0, at).join("."),
    layer: Number(segments[at]),
    inner: segments.slice(at + 1),
  };
}

function stripWrappers(segments: readonly string[]): readonly string[] {
  const start = segments.findIndex((segment, i) => !WRAPPERS.has(segment) || i === segments.length - 1);
  return segments.slice(start);
}

/**
 * Says whether the types of a stack stand without its path in front: the text model's own stack,
 * or the only stack there is (OPT's `decoder.layers`, BERT's `encoder.layer`).
 */
export function isPlainStack(stack: string, stacks: ReadonlySet<string>): boolean {
  return PLAIN_STACKS.has(stack) || stacks.size === 1;
}

/** The segments without the indices that count blocks or experts; an index that tells roles apart (`mlp.0`) stays. */
export function withoutCounters(segments: readonly string[]): readonly string[] {
  return segments.filter((segment, i) => {
    const list = segments[i - 1] ?? "";
    return !(INDEX.test(segment) && (BLOCK_LIST.test(list) || isExpertList(list)));
  });
}

/** Says whether a segment names a list of experts: `experts`, `shared_experts`. */
export function isExpertList(segment: string): boolean {
  return /^(?:.*_)?experts$/.test(segment);
}
