import { describe, expect, it } from "vitest";
import { MAX_RENDER_MS } from "../../src/chat/bounded-jinja.ts";
import { renderConversation } from "../../src/chat/render.ts";
import { parseTemplate } from "../../src/chat/template.ts";

const messages = [
  { role: "user", content: "Hi" },
  { role: "assistant", content: "Hello" },
];

function render(source: string): string {
  const template = parseTemplate(source, { kind: "model", name: "some/model" });
  return renderConversation(template, { kind: "conversation", messages }).text;
}

const TOO_LARGE =
  /chat template of some\/model: (?:the template makes a value of more than (?:16777216 characters|262144 parts)|Invalid string length)/;

describe("a hostile template ends in an error that names it", () => {
  it("when it asks for a long range", () => {
    expect(() => render("{% for i in range(10**9) %}x{% endfor %}")).toThrow(
      /range of 1000000000, expected at most 100000/,
    );
    expect(() => render("{% for i in range(0, -5, -1e-9) %}x{% endfor %}")).toThrow(/some\/model/);
    expect(() => render("{{ range(3, 9, 0) }}")).toThrow(/must not be zero/);
  });

  it("when its loops multiply", () => {
    const loops = 4;
    const source = `${"{% for i in range(99999) %}".repeat(loops)}${"{% endfor %}".repeat(loops)}`;
    const started = performance.now();
    expect(() => render(source)).toThrow(`did not end within ${MAX_RENDER_MS} ms`);
    expect(performance.now() - started).toBeLessThan(2 * MAX_RENDER_MS);
  });

  it.each([
    [
      "a text",
      "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    ],
    [
      "a list",
      "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    ],
    [
      "a tree",
      "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}",
    ],
    [
      "an object",
      "{% set ns = namespace(x={}) %}{% for i in range(60) %}{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% endfor %}",
    ],
    [
      "its output",
      "{% set ns = namespace(x='ab') %}{% for i in range(20) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{% for i in range(99999) %}{{ ns.x }}{% endfor %}",
    ],
  ])("when it doubles %s again and again", (_, source) => {
    expect(() => render(source)).toThrow(TOO_LARGE);
  });

  it("when it hides growth behind namespaces", () => {
    const chain = Array.from(
      { length: 40 },
      (_, k) => `{% set n${k + 1} = namespace(x=1) %}{% set a${k + 1} = [n${k}, n${k}] %}`,
    );
    expect(() => render(`{% set n0 = namespace(x=1) %}${chain.join("")}{{ a40 | tojson }}`)).toThrow(
      /a namespace inside another value/,
    );
    expect(() => render("{% set n = namespace(x=1) %}{% set n.x = n %}{{ n }}")).toThrow(
      /a namespace inside another value/,
    );
    expect(() => render("{% set n = namespace(x=1) %}{% set m = namespace(x=n) %}")).toThrow(
      /a namespace inside another value/,
    );
  });

  it("when it calls itself without end, nests without end, or raises", () => {
    expect(() => render("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}")).toThrow(
      /Cannot render with the chat template of some\/model/,
    );
    expect(() => render(`{{ ${"(".repeat(100_000)}1${")".repeat(100_000)} }}`)).toThrow(
      /Cannot read the chat template of some\/model/,
    );
    expect(() => render("{{ raise_exception('roles must alternate') }}")).toThrow(
      /some\/model: roles must alternate/,
    );
  });

  it("when it is long, or a desert", () => {
    expect(() => render("x".repeat(300_000))).toThrow(/it has 300000 characters, expected at most 262144/);
    expect(() => render(`a${" ".repeat(100_000)}{%`)).toThrow(/more than 1000 blanks in a row/);
    expect(() => render("{% if %}{% for")).toThrow(/Cannot read the chat template of some\/model/);
  });

  it("when it reaches for prototypes", () => {
    expect(render("{{ messages.constructor is defined }}{{ messages[0].__proto__ is defined }}")).toBe(
      "falsefalse",
    );
  });

  it("when its generation tags do not come in pairs, or what they mark is changed afterwards", () => {
    expect(() => render("{% generation %}x")).toThrow(/do not come in pairs/);
    expect(() => render("{% endgeneration %}x")).toThrow(/do not come in pairs/);
    expect(() =>
      render("{% set x %}{% generation %}ab{% endgeneration %}{% endset %}{{ x | length }}"),
    ).toThrow(/works on the text of its generation tags/);
  });
});

describe("what a template may do", () => {
  it("counts with range as Python does", () => {
    expect(render("{{ range(4) }}{{ range(1, 4) }}{{ range(7, 0, -3) }}{{ range(3, 1) }}")).toBe(
      "[0, 1, 2, 3][1, 2, 3][7, 4, 1][]",
    );
  });

  it("asks for the date that the caller gives", () => {
    const template = parseTemplate("{{ strftime_now('%d %b %Y, %H:%M %%') }}", {
      kind: "model",
      name: "dated",
    });
    const now = new Date(2024, 6, 4, 9, 5);
    expect(renderConversation(template, { kind: "conversation", messages: [] }, { now }).text).toBe(
      "04 Jul 2024, 09:05 %",
    );
  });

  it("holds every noncharacter in its text: sentinels are looked for elsewhere, and only their lack is an error", () => {
    const template = parseTemplate(
      "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
      {
        kind: "model",
        name: "tagged",
      },
    );
    const some = String.fromCharCode(0xfdd0, 0xfdd1, 0xfdd2);
    const spans = renderConversation(template, {
      kind: "conversation",
      messages: [{ role: "user", content: some }],
    });
    expect(spans).toEqual({ text: some, assistant: [{ start: 0, end: 3 }] });
    const all = String.fromCharCode(...Array.from({ length: 32 }, (_, at) => 0xfdd0 + at));
    expect(() =>
      renderConversation(template, { kind: "conversation", messages: [{ role: "user", content: all }] }),
    ).toThrow(/noncharacters/);
  });
});
