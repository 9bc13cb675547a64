// The part of the WebAssembly JavaScript API that kernels are run with. TypeScript has it only in the DOM's types, which a
// library for Node, Bun and Deno does without.
declare namespace WebAssembly {
  class Module {
    constructor(bytes: Uint8Array);
  }
  /** `B` is SharedArrayBuffer where `shared` is true. */
  class Memory<B extends ArrayBufferLike = ArrayBuffer> {
    constructor(descriptor: {
      readonly initial: number;
      readonly maximum: number;
      readonly shared?: B extends SharedArrayBuffer ? boolean : false;
    });
    readonly buffer: B;
    /** @throws RangeError when the pages cannot be had. */
    grow(pages: number): number;
  }
  class Global {
    value: unknown;
  }
  class Instance {
    constructor(module: Module, imports: { readonly env: { readonly memory: Memory<ArrayBufferLike> } });
    readonly exports: object;
  }
  function validate(bytes: Uint8Array): boolean;
}
