import { describe, expect, it } from "vitest";
import { addChatTokens } from "../../src/chat/chat-tokens.ts";
import { readTokenizer } from "../../src/chat/load-tokenizer.ts";
import { CHATML } from "../../src/chat/template.ts";
import { createTokenizer, encodeText } from "../../src/chat/tokenizer.ts";
import { MODEL_FOLDER } from "./fixtures.ts";

describe("addChatTokens()", () => {
  it("gives the tokens that are missing the next ids, and leaves what it was given", async () => {
    const base = await readTokenizer(MODEL_FOLDER);
    const before = JSON.stringify(base);
    const extended = addChatTokens(base);
    expect(extended.addedTokens).toEqual([
      { content: "<|im_start|>", id: 4096 },
      { content: "<|im_end|>", id: 4097 },
    ]);
    expect(JSON.stringify(base)).toBe(before);
    expect(extended.tokenizerConfig.chat_template).toBe(CHATML);
    const tokenizer = createTokenizer(extended);
    expect(tokenizer.vocabularySize).toBe(4098);
    expect(encodeText(tokenizer, "<|im_start|><|im_end|>").ids).toEqual([4096, 4097]);
  });

  it("adds nothing twice", async () => {
    const once = addChatTokens(await readTokenizer(MODEL_FOLDER));
    const twice = addChatTokens(once);
    expect(twice.addedTokens).toEqual([]);
    expect(twice.tokenizerJson).toEqual(once.tokenizerJson);
  });

  it("fills only the gap, after the largest id, and tells an older config", async () => {
    const base = await readTokenizer(MODEL_FOLDER);
    const row = { id: 9000, content: "<|im_start|>", special: true };
    const extended = addChatTokens({
      tokenizerJson: { ...base.tokenizerJson, added_tokens: [row] },
      tokenizerConfig: { added_tokens_decoder: { "9000": { content: "<|im_start|>" } } },
    });
    expect(extended.addedTokens).toEqual([{ content: "<|im_end|>", id: 9001 }]);
    expect(Object.keys(Object(extended.tokenizerConfig.added_tokens_decoder))).toEqual(["9000", "9001"]);
  });

  it("makes an ordinary entry of the vocabulary a special token with its own id", () => {
    const extended = addChatTokens({
      tokenizerJson: {
        model: { type: "BPE", vocab: { a: 0, "<|im_end|>": 1, "<|im_start|>": 2 }, merges: [] },
      },
      tokenizerConfig: {},
    });
    expect(extended.addedTokens).toEqual([]);
    expect(extended.tokenizerJson.added_tokens).toMatchObject([
      { content: "<|im_start|>", id: 2, special: true },
      { content: "<|im_end|>", id: 1, special: true },
    ]);
  });

  it("refuses a tokenizer without a vocabulary", () => {
    expect(() => addChatTokens({ tokenizerJson: {}, tokenizerConfig: {} })).toThrow(
      /expected a vocabulary, got none/,
    );
  });
});
