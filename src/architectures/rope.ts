// The frequencies of rotary position embeddings: default, linear, dynamic, llama3 and yarn, as in transformers'
// modeling_rope_utils.py, in float32 where it computes in float32.
import { UsageError } from "../errors.ts";
import { type Config, flag, positive, size, wrong } from "./config.ts";

/** Angles of position p: p times each frequency; cosines and sines are multiplied by `factor`. */
export interface Rope {
  /** As many as half the size of a head. */
  readonly frequencies: Float32Array;
  readonly factor: number;
}

const TYPES = ["default", "linear", "dynamic", "llama3", "yarn"];

/**
 * Reads `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling` (before).
 *
 * `dynamic` changes the frequencies only beyond `max_position_embeddings`, which no sequence of a graph exceeds.
 *
 * @throws UsageError when the type is none of these, or a field that it needs is missing.
 */
export function ropeOf(config: Config, headSize: number): Rope {
  const parameters: Config = { rope_theta: config.rope_theta, ...ropeParameters(config) };
  const type = ropeType(parameters);
  const partial = parameters.partial_rotary_factor ?? config.partial_rotary_factor ?? 1;
  if (partial !== 1) throw wrong("partial_rotary_factor", "1", partial);
  const theta = positive(parameters, "rope_theta", 10000);
  const plain = frequencies(theta, headSize);
  switch (type) {
    case "linear": {
      const factor = positive(parameters, "factor");
      return { frequencies: plain.map((f) => f / factor), factor: 1 };
    }
    case "llama3":
      return { frequencies: llama3(plain, parameters, config), factor: 1 };
    case "yarn":
      return yarn(parameters, { config, theta, headSize });
    default:
      return { frequencies: plain, factor: 1 };
  }
}

function ropeType(parameters: Config): string {
  const type = parameters.rope_type ?? parameters.type ?? "default";
  if (typeof type === "string" && TYPES.includes(type)) return type;
  throw new UsageError(
    `Cannot build the model: config.json has the rope_type ${JSON.stringify(type)}, of which only ${TYPES.join(", ")} are supported`,
  );
}

function ropeParameters(config: Config): Config {
  const parameters = config.rope_scaling ?? config.rope_parameters ?? {};
  if (typeof parameters !== "object" || Array.isArray(parameters)) {
    throw wrong("rope_parameters", "an object", parameters);
  }
  // Before its fields, some of which are lists in the types that cannot be computed.
  ropeType({ ...parameters });
  for (const [name, value] of Object.entries(parameters)) {
    if (typeof value === "object" && value !== null)
      throw wrong(`rope_parameters.${name}`, "a number or a word, the same for all layers", value);
  }
  return { ...parameters };
}

/** theta^(-2i / size) */
function frequencies(theta: number, headSize: number): Float32Array {
  const power = (i: number) => Math.fround(Math.fround(theta) ** Math.fround((2 * i) / headSize));
  return Float32Array.from({ length: headSize / 2 }, (_, i) => 1 / power(i));
}

/** Short wavelengths stay, long ones are stretched by the factor, those between are interpolated. */
function llama3(plain: Float32Array, parameters: Config, config: Config): Float32Array {
  const factor = positive(parameters, "factor");
  const low = positive(parameters, "low_freq_factor");
  const high = positive(parameters, "high_freq_factor");
  const original = originalPositions(parameters, config);
  return plain.map((frequency) => {
    const wavelength = (2 * Math.PI) / frequency;
    if (wavelength > original / low) return frequency / factor;
    if (wavelength < original / high) return frequency;
    const smooth = (original / wavelength - low) / (high - low);
    return ((1 - smooth) * frequency) / factor + smooth * frequency;
  });
}

/** https://arxiv.org/abs/2309.00071 */
function yarn(
  parameters: Config,
  { config, theta, headSize }: { config: Config; theta: number; headSize: number },
): Rope {
  const original = originalPositions(parameters, config);
  const factor = positive(parameters, "factor", size(config, "max_position_embeddings", 2048) / original);
  const turns = (rotations: number) =>
    (headSize * Math.log(original / (rotations * 2 * Math.PI))) / (2 * Math.log(theta));
  const truncate = flag(parameters, "truncate", true);
  const first = turns(positive(parameters, "beta_fast", 32));
  const last = turns(positive(parameters, "beta_slow", 1));
  const low = Math.max(truncate ? Math.floor(first) : first, 0);
  const high = Math.min(truncate ? Math.ceil(last) : last, headSize - 1);
  const width = high === low ? 0.001 : high - low;
  const blended = frequencies(theta, headSize).map((frequency, i) => {
    const ramp = Math.min(Math.max((i - low) / width, 0), 1);
    return (frequency / factor) * ramp + frequency * (1 - ramp);
  });
  return { frequencies: blended, factor: attentionFactor(parameters, factor) };
}

function attentionFactor(parameters: Config, factor: number): number {
  if (typeof parameters.attention_factor === "number") return parameters.attention_factor;
  const scale = (mscale: number) => (factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1);
  const { mscale, mscale_all_dim: allDim } = parameters;
  if (typeof mscale === "number" && typeof allDim === "number" && mscale !== 0 && allDim !== 0) {
    return scale(mscale) / scale(allDim);
  }
  return scale(1);
}

function originalPositions(parameters: Config, config: Config): number {
  const field = "original_max_position_embeddings";
  return size(
    { [field]: config[field] ?? parameters[field] },
    field,
    size(config, "max_position_embeddings", 2048),
  );
}

/** Cosines and sines of positions 0 to `positions - 1`, each [positions, head size / 2]. */
export function ropeTables(
  { frequencies, factor }: Rope,
  positions: number,
): { cosines: Float32Array; sines: Float32Array } {
  const half = frequencies.length;
  const cosines = new Float32Array(positions * half);
  const sines = new Float32Array(positions * half);
  for (let position = 0; position < positions; position++) {
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(position * (frequencies[i] ?? 0));
      cosines[position * half + i] = Math.cos(angle) * factor;
      sines[position * half + i] = Math.sin(angle) * factor;
    }
  }
  return { cosines, sines };
}
