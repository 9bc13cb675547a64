// Whether the ids of a batch are the model's. The graphs do not ask: a row that an embedding or a head in blocks does not have
// is another one, or zeros, and the loss is finite all the same.
import { IGNORED_LABEL, type TokenBatch } from "../chat/batch.ts";
import { UsageError } from "../errors.ts";
import type { Manifest } from "./manifest.ts";

/**
 * @throws UsageError naming the first of `inputIds` that is no token of the model, or the first label that is neither a
 * token nor {@link IGNORED_LABEL}: where torch's embedding and cross_entropy raise.
 */
export function checkIds(
  { inputIds, labels, sequence }: Pick<TokenBatch, "inputIds" | "labels" | "sequence">,
  { model, vocabularySize }: Pick<Manifest, "model" | "vocabularySize">,
): void {
  const isOutside = (id: number) => id < 0 || id >= vocabularySize;
  const refuse = (name: "input_ids" | "labels", at: number) => {
    const [ids, otherwise] =
      name === "labels" ? [labels, `, or ${IGNORED_LABEL} where there is no target`] : [inputIds, ""];
    const place = `position ${(at % sequence) + 1} of sequence ${Math.floor(at / sequence) + 1}`;
    return new UsageError(
      `Cannot run a batch that has ${ids[at]} among its ${name}, at ${place}: expected tokens of ${model.id}, 0 to ${vocabularySize - 1}${otherwise}; tokenize with the tokenizer of the artifacts`,
    );
  };
  const id = inputIds.findIndex(isOutside);
  if (id !== -1) throw refuse("input_ids", id);
  const label = labels.findIndex((each) => isOutside(each) && each !== IGNORED_LABEL);
  if (label !== -1) throw refuse("labels", label);
}
