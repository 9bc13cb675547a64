import { describe, expect, it } from "vitest";
import { recordFrom } from "../../src/chat/shapes.ts";

const turns = [
  { role: "user", content: "Hi" },
  { role: "assistant", content: "Hello" },
];
const conversation = { kind: "conversation", messages: turns };

describe("recordFrom() reads", () => {
  it.each<[string, unknown]>([
    ["messages", { messages: turns }],
    [
      "messages whose content is a list of texts",
      {
        messages: [
          {
            role: "user",
            content: [
              { type: "text", text: "H" },
              { type: "text", text: "i" },
            ],
          },
          turns[1],
        ],
      },
    ],
    [
      "messages as JSON text, beside null columns",
      { messages: JSON.stringify(turns), text: null, tools: "" },
    ],
    [
      "sharegpt's conversations",
      {
        conversations: [
          { from: "human", value: "Hi" },
          { from: "gpt", value: "Hello" },
        ],
      },
    ],
    ["conversations with roles", { conversations: turns }],
    ["prompt and completion of messages", { prompt: turns.slice(0, 1), completion: turns.slice(1) }],
    ["alpaca without input", { instruction: "Hi", input: "", output: "Hello" }],
  ])("%s", (_, value) => {
    expect(recordFrom(value)).toEqual(conversation);
  });

  it("sharegpt's tools and system as roles of a template", () => {
    const value = {
      system: "Be brief.",
      conversations: [
        { from: "human", value: "?" },
        { from: "function_call", value: "{}" },
        { from: "observation", value: "!" },
        { from: "gpt", value: "." },
      ],
      tools: '[{"name": "f"}]',
    };
    const record = recordFrom(value);
    expect(record).toMatchObject({ tools: [{ name: "f" }] });
    expect("messages" in record && record.messages.map(({ role }) => role)).toEqual([
      "system",
      "user",
      "assistant",
      "tool",
      "assistant",
    ]);
  });

  it("alpaca with input, system and history", () => {
    const value = { instruction: "Add", input: "1 2", output: "3", system: "Count.", history: [["a", "b"]] };
    expect(recordFrom(value)).toEqual({
      kind: "conversation",
      messages: [
        { role: "system", content: "Count." },
        { role: "user", content: "a" },
        { role: "assistant", content: "b" },
        { role: "user", content: "Add\n\n1 2" },
        { role: "assistant", content: "3" },
      ],
    });
  });

  it("prompt and completion, text, and tokens", () => {
    expect(recordFrom({ prompt: "a", completion: "b" })).toEqual({
      kind: "completion",
      prompt: "a",
      completion: "b",
    });
    expect(recordFrom({ text: "a" })).toEqual({ kind: "text", text: "a" });
    expect(recordFrom({ input_ids: [5, 6] })).toEqual({ kind: "tokens", inputIds: [5, 6], labels: [5, 6] });
    expect(recordFrom({ input_ids: [5, 6], labels: [-100, 6] })).toEqual({
      kind: "tokens",
      inputIds: [5, 6],
      labels: [-100, 6],
    });
  });

  it("an assistant that calls tools and says nothing, without its null fields", () => {
    const calls = [{ function: { name: "f", arguments: {} } }];
    const value = {
      messages: [turns[0], { role: "assistant", content: null, tool_calls: calls, name: null }],
    };
    expect(recordFrom(value)).toEqual({
      kind: "conversation",
      messages: [turns[0], { role: "assistant", tool_calls: calls }],
    });
  });
});

describe("recordFrom() refuses", () => {
  it.each<[string, unknown, RegExp]>([
    ["what is no object", 7, /expected an object, got a number/],
    [
      "unknown columns",
      { question: "a", answer: "b" },
      /expected messages; conversations; .*; got question, answer/,
    ],
    ["no turns", { messages: [] }, /the conversation is empty/],
    ["a turn that is no object", { messages: ["Hi"] }, /message 1: expected an object, got a string/],
    [
      "an unknown role",
      { messages: [turns[0], { role: "user<|im_end|>", content: "x" }] },
      /message 2: expected the role system, .* got "user<\|im_end\|>"/,
    ],
    ["a turn without content", { messages: [{ role: "user" }] }, /message 1 \(user\) has no content/],
    [
      "images",
      { messages: [{ role: "user", content: [{ type: "image_url", image_url: "x" }] }] },
      /expected text as content, got image_url/,
    ],
    ["half a surrogate pair", { text: "\ud800" }, /half of a surrogate pair/],
    ["text that is not text", { text: 5 }, /text: expected text, got a number/],
    ["messages that are no JSON", { messages: "[{" }, /messages: expected a list, got text that is no JSON/],
    ["ids that are none", { input_ids: [1, -2] }, /expected token ids, got -2 at 1/],
    ["ids that do not fit", { input_ids: [2 ** 30] }, /expected token ids, got 1073741824 at 0/],
    [
      "labels of another length",
      { input_ids: [1, 2], labels: [1] },
      /expected as many labels as input_ids, 2, got 1/,
    ],
    [
      "labels of other tokens",
      { input_ids: [1, 2], labels: [1, 3] },
      /labels: expected 2 or -100 at 1, got 3/,
    ],
  ])("%s", (_, value, message) => {
    expect(() => recordFrom(value)).toThrow(message);
  });
});
