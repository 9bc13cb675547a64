// Weights of 8-bit floats, which only some providers decode.
import { float8Weight } from "../../../src/onnx/float8-weight.ts";
import type { ProviderName } from "../providers.ts";

/** @throws Error saying what else to do when the graph in an ONNX file holds weights of 8-bit floats. */
export function checkNoFloat8(file: Uint8Array, provider: ProviderName): void {
  const weight = float8Weight(file);
  if (weight === null) return;
  throw new Error(
    `the weight ${weight} is in 8-bit floats, which ${provider} does not decode; choose onnxruntime-cpu, or train the model before it was quantised`,
  );
}
