// The order in which modules are listed: as the data flows through the model, whatever order the files have.
import type { ModelModule } from "./module.ts";
import { type ModulePath, parsePath } from "./path.ts";

/** Parts of a model in the order of the data. `""` is the text model, or what an encoder and a decoder share. */
const TOWERS: readonly RegExp[] = [
  /^(?:vision|visual|audio|image|speech)/,
  /projector|connector|aligner|merger|adapter/,
  /^$/,
  /encoder/,
  /decoder/,
];

/** Segments in the order in which transformers declares them inside a block; the unknown ones follow, by name. */
const DECLARED: readonly string[] = [
  ...["shared", "embed_tokens", "wte", "wpe"],
  ...["ln_1", "norm1", "layer_norm1"],
  ...[
    "self_attn",
    "self_attention",
    "SelfAttention",
    "linear_attn",
    "attn",
    "attention",
    "mixer",
    "temporal_block",
  ],
  ...["q_a_proj", "q_a_layernorm", "q_b_proj", "kv_a_proj_with_mqa", "kv_a_layernorm", "kv_b_proj"],
  ...["q_proj", "q", "k_proj", "k", "v_proj", "v", "qkv_proj", "qkv", "query_key_value", "c_attn"],
  ...[
    "conv1d",
    "in_proj",
    "in_proj_qkvz",
    "in_proj_ba",
    "x_proj",
    "dt_proj",
    "o_proj",
    "o",
    "out_proj",
    "proj",
    "dense",
    "q_norm",
    "k_norm",
  ],
  ...["encoder_attn", "EncDecAttention", "cross_attn", "ln_2", "norm2", "layer_norm2"],
  ...["mlp", "feed_forward", "block_sparse_moe", "ffn", "DenseReluDense", "gate", "router", "experts"],
  ...["gate_up_proj", "gate_proj", "w1", "up_proj", "w3", "down_proj", "w2"],
  ...[
    "c_fc",
    "fc_in",
    "fc1",
    "dense_h_to_4h",
    "wi",
    "wi_0",
    "wi_1",
    "wo",
    "fc_out",
    "fc2",
    "dense_4h_to_h",
    "c_proj",
  ],
  ...["shared_expert", "shared_experts", "shared_expert_gate"],
];

const RANKS: ReadonlyMap<string, number> = new Map(DECLARED.map((segment, rank) => [segment, rank]));

type Key = readonly (number | string)[];

/**
 * Sorts modules: towers before the text model and encoders before decoders; in each, embeddings, what feeds the
 * blocks (`conv1`, `patch_embed`), blocks by number, then the rest (the final norm); heads at the very end. Within a block, the order in which the known families
 * declare their parts. Block 2 stands before block 10.
 */
export function inModelOrder(modules: readonly ModelModule[]): ModelModule[] {
  const paths = new Map(modules.map((module) => [module, parsePath(module.name.replace(/\[\d+\]$/, ""))]));
  const towers = new Set(
    [...paths.values()].flatMap(({ stack }) => (stack === null ? [] : [towerOf(stack)])),
  );
  const keyed = [...paths].map(([module, path]) => ({ module, key: sortKey(module, path, towers) }));
  return keyed.sort((a, b) => compare(a.key, b.key)).map(({ module }) => module);
}

/** First segment of a stack's path; empty for the text model, whose path is the list alone. */
function towerOf(stack: string): string {
  const segments = stack.split(".");
  return segments.length > 1 ? (segments[0] ?? "") : "";
}

function sortKey(module: ModelModule, path: ModulePath, towers: ReadonlySet<string>): Key {
  const first = path.segments[0] ?? "";
  const outside = towers.has(first) || TOWERS[1]?.test(first) === true ? first : "";
  const tower = path.stack === null ? outside : towerOf(path.stack);
  const rank = TOWERS.findIndex((pattern) => pattern.test(tower));
  return [
    module.part === "head" ? 1 : 0,
    rank < 0 ? TOWERS.length : rank,
    tower,
    placeInTower(module, path),
    path.stack ?? "",
    path.layer ?? 0,
    ...path.inner.flatMap(segmentKey),
    "",
    module.expert ?? 0,
  ];
}

function placeInTower(module: ModelModule, path: ModulePath): number {
  if (path.stack !== null) return 2;
  if (module.part === "embedding") return 0;
  return path.segments.some((segment) => /embed|conv|project_in|^pre_/.test(segment)) ? 1 : 3;
}

function segmentKey(segment: string): Key {
  if (/^\d+$/.test(segment)) return [Number(segment), ""];
  return [RANKS.get(segment) ?? DECLARED.length, segment];
}

/** Compares element by element; a shorter key that agrees so far comes first. */
function compare(a: Key, b: Key): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const x = a[i] ?? 0;
    const y = b[i] ?? 0;
    if (x === y) continue;
    if (typeof x === "number" && typeof y === "number") return x - y;
    return String(x) < String(y) ? -1 : 1;
  }
  return a.length - b.length;
}
