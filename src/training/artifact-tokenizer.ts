// The tokenizer of artifacts: the model's own, or with chatml and the tokens that chatml needs.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { addChatTokens } from "../chat/chat-tokens.ts";
import { readTokenizer } from "../chat/load-tokenizer.ts";
import { chatTemplate, type TemplateKind } from "../chat/template.ts";
import { copyIfThere } from "../files.ts";
import type { AddedToken } from "./manifest.ts";

/** What of a model's tokenizer goes into artifacts. */
export interface ArtifactTokenizer {
  readonly addedTokens: readonly AddedToken[];
  /** Writes its files into a folder. */
  write(folder: string): Promise<void>;
}

/** Read by whoever loads a model; taken over as they are. */
const OTHER_FILES = ["config.json", "generation_config.json"];
const TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];

/**
 * Reads the tokenizer in a model's folder and gives it the template.
 *
 * @throws UsageError when there is none and a template was asked for, or the model has no template of its own.
 */
export async function artifactTokenizer(folder: string, template: TemplateKind): Promise<ArtifactTokenizer> {
  if (template === "chatml") {
    const { addedTokens, tokenizerJson, tokenizerConfig } = addChatTokens(await readTokenizer(folder));
    return {
      addedTokens,
      async write(out) {
        await copyThose(OTHER_FILES, { from: folder, to: out });
        await writeFile(join(out, "tokenizer.json"), `${JSON.stringify(tokenizerJson)}\n`);
        await writeFile(join(out, "tokenizer_config.json"), `${JSON.stringify(tokenizerConfig, null, 2)}\n`);
      },
    };
  }
  // Parsed here, so that a template that cannot be read stops the export and not the training.
  if (template === "model") chatTemplate(template, (await readTokenizer(folder)).tokenizerConfig);
  return {
    addedTokens: [],
    write: (out) => copyThose([...OTHER_FILES, ...TOKENIZER_FILES], { from: folder, to: out }),
  };
}

/** Copies the files that are there. */
async function copyThose(
  names: readonly string[],
  { from, to }: { from: string; to: string },
): Promise<void> {
  for (const name of names) await copyIfThere(join(from, name), join(to, name));
}
