// Which files of a model are its weights, from their names alone, and what to do when there are none to read.

/** The whole checkpoint in one file. */
export const SINGLE_FILE = "model.safetensors";

/** The index of a sharded checkpoint. */
export const INDEX_FILE = "model.safetensors.index.json";

/**
 * Says whether a model's weights are one file or sharded; the one file wins where both exist, as in transformers.
 *
 * @throws Error that says what the model has instead, and what to do about it.
 */
export function findWeights(names: readonly string[], id: string): "single" | "sharded" {
  if (names.includes(SINGLE_FILE)) return "single";
  if (names.includes(INDEX_FILE)) return "sharded";
  throw new Error(`Cannot open ${id}: ${withoutWeights(names, id)}`);
}

function withoutWeights(names: readonly string[], id: string): string {
  const found = (pattern: RegExp) => names.find((name) => pattern.test(name));
  const adapter = found(/^adapter_model\.(safetensors|bin)$/);
  if (adapter) return `${adapter} is an adapter, not a model; merge it into its base model and open that`;
  const safetensors = found(/\.safetensors$/);
  if (safetensors) {
    return `expected ${SINGLE_FILE} or ${INDEX_FILE}, found ${safetensors} without them; download the missing files, or rename a whole checkpoint to ${SINGLE_FILE}`;
  }
  const pickled = found(/\.(bin|pt|pth|ckpt)$/);
  if (pickled) {
    return (
      `its weights are in ${pickled}, and only safetensors files are read (a pickled file can run code when it is loaded); ` +
      `convert it once: python -c "from transformers import AutoModelForCausalLM as M; M.from_pretrained('${id}').save_pretrained('converted')", then open ./converted`
    );
  }
  const other = found(/\.(gguf|ggml|onnx|h5|msgpack|npz)$/);
  if (other) {
    return `its weights are in ${other}, and only safetensors files are read; open the model that it was made from`;
  }
  return `it holds no weights, expected ${SINGLE_FILE} or ${INDEX_FILE}`;
}

/** Says whether a file is one of the small ones that come with the weights: config, tokenizer, chat template. */
export function isCompanion(name: string): boolean {
  return COMPANIONS.has(name) || /^tokenizer[^/]*\.json$/.test(name) || /^[^/]+\.jinja$/.test(name);
}

const COMPANIONS: ReadonlySet<string> = new Set([
  "config.json",
  "generation_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.json",
  "vocab.json",
  "merges.txt",
]);
