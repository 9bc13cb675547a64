// The parameters of a decoder: names as transformers gives them, and shapes.
import { type DecoderConfig, EMBEDDING, FINAL_NORM, HEAD } from "./decoder.ts";

/** Every parameter that the graph reads, in the model's order. */
export function decoderParameters(config: DecoderConfig): ReadonlyMap<string, readonly number[]> {
  const { vocabularySize, hiddenSize, tied, windows } = config;
  const parameters = new Map<string, readonly number[]>([[EMBEDDING, [vocabularySize, hiddenSize]]]);
  for (const layer of windows.keys()) {
    for (const [name, shape] of layerParameters(config))
      parameters.set(`model.layers.${layer}.${name}`, shape);
  }
  parameters.set(FINAL_NORM, [hiddenSize]);
  if (!tied) parameters.set(HEAD, [vocabularySize, hiddenSize]);
  return parameters;
}

function layerParameters(config: DecoderConfig): readonly (readonly [string, readonly number[]])[] {
  const { hiddenSize, intermediateSize, heads, keyHeads, headSize, attentionBias, mlpBias } = config;
  const linear = (name: string, [out, input]: readonly [number, number], bias: boolean) => {
    const weight = [`${name}.weight`, [out, input]] as const;
    return bias ? [weight, [`${name}.bias`, [out]] as const] : [weight];
  };
  const norm = (name: string, size: number) => [`${name}.weight`, [size]] as const;
  const headNorms = config.headNorms
    ? [norm("self_attn.q_norm", headSize), norm("self_attn.k_norm", headSize)]
    : [];
  return [
    norm("input_layernorm", hiddenSize),
    ...linear("self_attn.q_proj", [heads * headSize, hiddenSize], attentionBias.inputs),
    ...linear("self_attn.k_proj", [keyHeads * headSize, hiddenSize], attentionBias.inputs),
    ...linear("self_attn.v_proj", [keyHeads * headSize, hiddenSize], attentionBias.inputs),
    ...headNorms,
    ...linear("self_attn.o_proj", [hiddenSize, heads * headSize], attentionBias.output),
    norm("post_attention_layernorm", hiddenSize),
    ...linear("mlp.gate_proj", [intermediateSize, hiddenSize], mlpBias),
    ...linear("mlp.up_proj", [intermediateSize, hiddenSize], mlpBias),
    ...linear("mlp.down_proj", [hiddenSize, intermediateSize], mlpBias),
  ];
}
