// Which parameters are one storage under several names: the token embedding and the output head, T5's shared table.

import { moduleName } from "./companions.ts";
import type { NamedTensor } from "./kind.ts";
import { parsePath } from "./path.ts";
import { modulePart } from "./role.ts";

type Tensors = ReadonlyMap<string, NamedTensor>;
type Config = Readonly<Record<string, unknown>>;

/** What is tied in a checkpoint. */
export interface Ties {
  /** The head's parameter name by the name of the embedding tensor that it shares; the head may be absent from the checkpoint. */
  readonly heads: ReadonlyMap<string, string>;
  /** Tensors of the checkpoint that repeat another one and are not modules of their own. */
  readonly repeated: ReadonlySet<string>;
}

/** model_type of the language models that transformers (5.23) ties when config.json does not say. */
const TIED_BY_DEFAULT: ReadonlySet<string> = new Set(
  `albert aya_vision bart bert big_bird bigbird_pegasus biogpt blenderbot blenderbot-small bloom camembert cohere cohere2
  cohere2_vision convbert cpmant ctrl deberta deberta-v2 distilbert electra ernie ernie4_5 ernie4_5_moe falcon falcon_mamba
  florence2 gemma gemma2 gemma3 gemma3_text gemma3n gemma3n_text gemma4 gemma4_text gpt-sw3 gpt2 gpt_bigcode gpt_neo
  gpt_neox_japanese jetmoe led lfm2 lfm2_moe lfm2_vl longformer longt5 m2m_100 mamba marian mbart minicpm3 mobilebert
  modernbert modernbert-decoder moonshine mpt mt5 mvp nllb-moe openai-gpt opt paligemma pegasus pegasus_x plbart
  prophetnet recurrent_gemma roberta shieldgemma2 smollm3 speech_to_text starcoder2 switch_transformers t5 t5gemma
  t5gemma2 udop umt5 vaultgemma whisper xglm xlm xlm-roberta xlm-roberta-xl xlnet xmod zamba zamba2`.split(
    /\s+/,
  ),
);

/** Names of heads other than `lm_head.weight`, by model_type. */
const HEAD_NAMES: ReadonlyMap<string, string> = new Map([
  ["bert", "cls.predictions.decoder.weight"],
  ["biogpt", "output_projection.weight"],
  ["distilbert", "vocab_projector.weight"],
  ["gpt_neox", "embed_out.weight"],
  ["modernbert", "decoder.weight"],
  ["modernbert-decoder", "decoder.weight"],
  ["moonshine", "proj_out.weight"],
  ["roberta", "lm_head.decoder.weight"],
  ["whisper", "proj_out.weight"],
  ["xlm-roberta", "lm_head.decoder.weight"],
]);

const LANGUAGE_MODEL =
  /LMHead|ForCausalLM|ForConditionalGeneration|ForMaskedLM|ForPreTraining|ForImageTextToText|LMModel/;
const TOKEN_TABLES = [
  "shared",
  "embed_tokens",
  "wte",
  "word_embeddings",
  "embed_in",
  "tok_embeddings",
  "embeddings",
  "embedding",
];

/**
 * Finds what is tied.
 *
 * The config decides (`tie_word_embeddings` at its top, else in `text_config`). Where it does not say, the default of
 * transformers for its `model_type` decides, and for a language model that holds no head at all the missing head
 * is the embedding. A model that is no language model by its `architectures` has no head to tie.
 */
export function findTies(tensors: Tensors, config: Config): Ties {
  const tables = [...tensors.values()].filter(isTable);
  const repeated = new Set([...sharedCopies(tables), ...copiedBiases(tensors)]);
  const heads = new Map<string, string>();
  const embedding = tokenTable(tables.filter((table) => !repeated.has(table.name)));
  if (embedding !== undefined && isLanguageModel(config)) {
    const stored = tables.find(isHead);
    const fits = stored === undefined || sameShape(stored, embedding);
    if (fits && tiesWords(config, stored === undefined)) {
      heads.set(embedding.name, stored?.name ?? headName(embedding.name, config));
      if (stored !== undefined) repeated.add(stored.name);
    }
  }
  return { heads, repeated };
}

function isTable(tensor: NamedTensor): boolean {
  return tensor.shape.length === 2 && tensor.name.endsWith(".weight");
}

function isHead(tensor: NamedTensor): boolean {
  return modulePart(parsePath(moduleName(tensor.name))) === "head";
}

/** The copies of an encoder-decoder's `shared` table: transformers ties them whatever the config says. */
function sharedCopies(tables: readonly NamedTensor[]): string[] {
  const shared = tables.find((table) => /(?:^|\.)shared\.weight$/.test(table.name));
  if (shared === undefined) return [];
  const copies = tables.filter((table) =>
    /(?:^|\.)(?:encoder|decoder)\.embed_tokens\.weight$/.test(table.name),
  );
  return copies.filter((copy) => sameShape(copy, shared)).map((copy) => copy.name);
}

/** BERT's decoder bias, which is the bias of the layer around it. */
function copiedBiases(tensors: Tensors): string[] {
  const names = [...tensors.keys()].filter((name) => /(?:predictions|lm_head)\.decoder\.bias$/.test(name));
  return names.filter((name) => tensors.has(name.replace(".decoder.bias", ".bias")));
}

/** The table of token embeddings that a head would share: the decoder's where there are two, never a tower's. */
function tokenTable(tables: readonly NamedTensor[]): NamedTensor | undefined {
  const candidates = tables.flatMap((table) => {
    const { stack, segments } = parsePath(moduleName(table.name));
    const rank = TOKEN_TABLES.indexOf(segments.at(-1) ?? "");
    const tower = segments.length > 1 && !/^(?:decoder|.*embeddings)$/.test(segments.at(-2) ?? "");
    return stack !== null || rank < 0 || tower ? [] : [{ table, rank }];
  });
  return candidates.sort((a, b) => a.rank - b.rank)[0]?.table;
}

function isLanguageModel(config: Config): boolean {
  const { architectures } = config;
  if (!Array.isArray(architectures) || architectures.length === 0) return true;
  return architectures.some((name) => typeof name === "string" && LANGUAGE_MODEL.test(name));
}

function tiesWords(config: Config, headIsMissing: boolean): boolean {
  // T5 v1.1 as transformers 5 saves it: "tied" with a head of its own, told apart by this flag alone.
  if (config.scale_decoder_outputs === false && !headIsMissing) return false;
  const text = textConfig(config);
  for (const each of [config, text]) {
    if (typeof each.tie_word_embeddings === "boolean") return each.tie_word_embeddings;
  }
  const byDefault = [config, text].some(
    ({ model_type }) => typeof model_type === "string" && TIED_BY_DEFAULT.has(model_type),
  );
  return byDefault || (headIsMissing && Array.isArray(config.architectures));
}

function textConfig(config: Config): Config {
  const text = config.text_config;
  return typeof text === "object" && text !== null ? Object.fromEntries(Object.entries(text)) : {};
}

/** Name of a head that the checkpoint does not hold: beside the text model, as its embedding's name shows. */
function headName(embedding: string, config: Config): string {
  const { model_type } = config;
  const name = typeof model_type === "string" ? HEAD_NAMES.get(model_type) : undefined;
  const prefix = /^(.*language_model\.)model\./.exec(embedding)?.[1] ?? "";
  return prefix + (name ?? "lm_head.weight");
}

function sameShape(a: NamedTensor, b: NamedTensor): boolean {
  return a.shape.length === b.shape.length && a.shape.every((size, i) => size === b.shape[i]);
}
