import { beforeAll, describe, expect, it } from "vitest";
import type { ConversationRecord } from "../../src/chat/conversation.ts";
import { type EncodeOptions, encodeRecord } from "../../src/chat/encode.ts";
import { renderConversation, renderPrompt } from "../../src/chat/render.ts";
import { CHATML, chatTemplate, parseTemplate } from "../../src/chat/template.ts";
import { type ChatTokenizer, createTokenizer } from "../../src/chat/tokenizer.ts";
import { chatmlCases, chatmlTokenizer, labelsOf, otherTemplates, smallTokenizers } from "./fixtures.ts";

const encodeConversation = (conversation: Omit<ConversationRecord, "kind">, options: EncodeOptions) =>
  encodeRecord({ kind: "conversation", ...conversation }, options);

let tokenizer: ChatTokenizer;
beforeAll(async () => {
  tokenizer = await chatmlTokenizer();
});

describe("against transformers' apply_chat_template", () => {
  const template = parseTemplate(CHATML, { kind: "chatml", name: "chatml" });

  it("renders 200 conversations to the same text", () => {
    expect(chatmlCases).toHaveLength(200);
    for (const { messages, tools, text } of chatmlCases) {
      const conversation = { kind: "conversation" as const, messages, ...(tools && { tools }) };
      expect(renderConversation(template, conversation).text).toBe(text);
    }
  });

  it("gives 200 conversations the same tokens and the same targets", () => {
    for (const expected of chatmlCases) {
      const { messages, tools, ids } = expected;
      const encoded = encodeConversation(
        { messages, ...(tools && { tools }) },
        { template, tokenizer, trainOn: "assistant" },
      );
      expect(encoded.inputIds, expected.text).toEqual(ids);
      expect(encoded.labels, expected.text).toEqual(labelsOf(expected));
      expect(encoded.labels.some((label) => label !== -100)).toBe(true);
    }
  });

  it.each(Object.entries(otherTemplates))(
    "agrees on the template %s, whose tags have blanks around them",
    (name, { template: source, cases }) => {
      const other = parseTemplate(source, { kind: "model", name });
      for (const expected of cases) {
        const { messages, text } = expected;
        expect(renderConversation(other, { kind: "conversation", messages }).text).toBe(text);
        const encoded = encodeConversation(
          { messages },
          { template: other, tokenizer, trainOn: "assistant" },
        );
        expect(encoded.inputIds).toEqual(expected.ids);
        expect(encoded.labels).toEqual(labelsOf(expected));
      }
    },
  );
});

describe("tokens' characters", () => {
  const { template: source, tokenizers } = smallTokenizers;
  const template = parseTemplate(source, { kind: "model", name: "bare" });

  it.each(Object.entries(tokenizers))(
    "are found under a tokenizer like that of %s, turns beginning and ending inside of words and characters",
    (_, { tokenizer: tokenizerJson, cases }) => {
      const small = createTokenizer({ tokenizerJson, tokenizerConfig: {} });
      expect(cases.length).toBeGreaterThan(10);
      for (const expected of cases) {
        const { messages, ids, text } = expected;
        const encoded = encodeConversation(
          { messages },
          { template, tokenizer: small, trainOn: "assistant" },
        );
        expect(encoded.inputIds, text).toEqual(ids);
        expect(encoded.labels, text).toEqual(labelsOf(expected));
      }
    },
  );

  it("are an error where a tokenizer does not keep the text", () => {
    const first = Object.values(tokenizers)[0]?.tokenizer ?? {};
    const dropping = { type: "Split", pattern: { Regex: " " }, behavior: "Removed", invert: false };
    const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
    const pre_tokenizer = { type: "Sequence", pretokenizers: [dropping, bytes] };
    const small = createTokenizer({ tokenizerJson: { ...first, pre_tokenizer }, tokenizerConfig: {} });
    const messages = [
      { role: "user", content: "a b" },
      { role: "assistant", content: "c d" },
    ];
    expect(() =>
      encodeConversation({ messages }, { template, tokenizer: small, trainOn: "assistant" }),
    ).toThrow(/Cannot tell which characters the tokens stand for/);
  });
});

describe("labels", () => {
  const messages = [
    { role: "system", content: "Be brief." },
    { role: "user", content: "One?" },
    { role: "assistant", content: "1" },
    { role: "user", content: "Two?" },
    { role: "assistant", content: "2 and more" },
  ];
  const template = parseTemplate(CHATML, { kind: "chatml", name: "chatml" });
  const targetText = (labels: readonly number[]) =>
    tokenizer.library.decode(labels.filter((label) => label !== -100));

  it("of chatml are the content and <|im_end|>, neither the header nor the line feed", () => {
    const { labels } = encodeConversation({ messages }, { template, tokenizer, trainOn: "assistant" });
    expect(targetText(labels)).toBe("1<|im_end|>2 and more<|im_end|>");
  });

  it("are the last turn's alone with trainOn last, and every token's with all", () => {
    const last = encodeConversation({ messages }, { template, tokenizer, trainOn: "last" });
    expect(targetText(last.labels)).toBe("2 and more<|im_end|>");
    const all = encodeConversation({ messages }, { template, tokenizer, trainOn: "all" });
    expect(all.labels).toEqual(all.inputIds);
  });

  it("found by rendering prefixes equal those of the generation tags", () => {
    const untagged = parseTemplate(CHATML.replaceAll(/\{%-? *(end)?generation *-?%\}/g, ""), {
      kind: "model",
      name: "untagged",
    });
    expect(untagged.marksGeneration).toBe(false);
    for (const { messages, tools } of chatmlCases) {
      for (const trainOn of ["assistant", "last"] as const) {
        const record = { messages, ...(tools && { tools }) };
        expect(encodeConversation(record, { template: untagged, tokenizer, trainOn })).toEqual(
          encodeConversation(record, { template, tokenizer, trainOn }),
        );
      }
    }
  });

  it("cannot be found where a prefix of the conversation renders otherwise, and the error names the template", () => {
    // Qwen 3 shows the thoughts of the last turn only: an earlier turn reads otherwise once another follows.
    const source =
      "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' and loop.last %}(thoughts){% endif %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
    const thinking = parseTemplate(source, { kind: "model", name: "some/model" });
    expect(() =>
      encodeConversation({ messages }, { template: thinking, tokenizer, trainOn: "assistant" }),
    ).toThrow(/chat template of some\/model: the first 3 of 5 messages do not render to the beginning/);
    const { labels } = encodeConversation(
      { messages: messages.slice(0, 3) },
      { template: thinking, tokenizer, trainOn: "assistant" },
    );
    expect(targetText(labels)).toBe("(thoughts)1");
  });

  it("of a turn that ends in a character of several tokens take all of them", () => {
    const source =
      "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}";
    const bare = parseTemplate(source, { kind: "model", name: "bare" });
    const { labels } = encodeConversation(
      {
        messages: [
          { role: "user", content: "é" },
          { role: "assistant", content: "数学" },
          { role: "user", content: "é" },
        ],
      },
      { template: bare, tokenizer, trainOn: "assistant" },
    );
    expect(targetText(labels)).toBe("数学");
  });

  it("refuse a conversation without an assistant's turn", () => {
    expect(() =>
      encodeConversation({ messages: messages.slice(0, 2) }, { template, tokenizer, trainOn: "assistant" }),
    ).toThrow(/no turn of the assistant/);
  });
});

describe("chatTemplate()", () => {
  it("is null for none, chatml for chatml, and the config's for model", () => {
    expect(chatTemplate("none", {})).toBeNull();
    expect(chatTemplate("chatml", {})?.source).toBe(CHATML);
    expect(chatTemplate("model", { chat_template: "{{ messages }}" })?.source).toBe("{{ messages }}");
    const named = [
      { name: "tool_use", template: "tools" },
      { name: "default", template: "chat" },
    ];
    expect(chatTemplate("model", { chat_template: named })?.source).toBe("chat");
    expect(() => chatTemplate("model", {})).toThrow(/no chat template of its own/);
  });

  it("gives the assistant's header as prompt", () => {
    const template = parseTemplate(CHATML, { kind: "chatml", name: "chatml" });
    const prompt = renderPrompt(template, {
      kind: "conversation",
      messages: [{ role: "user", content: "Hi" }],
    });
    expect(prompt).toBe("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  });
});
