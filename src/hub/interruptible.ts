// A model whose reads stop when somebody asks for it.
import type { Model } from "./model.ts";

/** The same model, of which each read throws the signal's reason once it is aborted. */
export function interruptible(model: Model, signal: AbortSignal | undefined): Model {
  if (signal === undefined) return model;
  return { ...model, readFile: (file, range) => model.readFile(file, { ...range, signal }) };
}
