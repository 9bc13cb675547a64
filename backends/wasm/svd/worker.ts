// A worker's side of a truncated SVD: every worker multiplies its slices of rows, the first also leads the iteration.
import type { TruncatedSvd } from "../../../src/backend-svd.ts";
import { type LeaderWork, SvdLeader } from "./leader.ts";
import type { Passes } from "./passes.ts";
import type { Pass, Share } from "./plan.ts";
import { type RowBlock, RowProducts } from "./row-products.ts";

/** What a worker is asked to do. */
export type SvdStep =
  | { readonly kind: "begin"; readonly work: LeaderWork; readonly share: Share }
  | { readonly kind: "examine"; readonly rows: RowBlock }
  /** Begins a pass over 2^-exponent A; with rows that are held, also makes and ends it. */
  | { readonly kind: "pass"; readonly pass: Pass; readonly exponent: number }
  | { readonly kind: "rows"; readonly rows: RowBlock }
  | { readonly kind: "passed" }
  /** To the first worker: the iteration over 2^-exponent A, then each time a pass has been made. */
  | { readonly kind: "lead"; readonly exponent: number }
  | { readonly kind: "advance" }
  /** Frees the memory. */
  | { readonly kind: "end" };

/** What it answers. */
export type SvdAnswer =
  | { readonly kind: "done" }
  | { readonly kind: "largest"; readonly magnitude: number }
  | { readonly kind: "pass"; readonly pass: Pass }
  | { readonly kind: "result"; readonly svd: TruncatedSvd };

const DONE: SvdAnswer = { kind: "done" };

/** Owns the memory of one truncated SVD after another. */
export class SvdWorker {
  readonly #module: WebAssembly.Module;
  readonly #check: () => void;
  #work: LeaderWork | null = null;
  #products: RowProducts | null = null;
  #passes: Passes<TruncatedSvd> | null = null;

  constructor(module: WebAssembly.Module, interrupted: () => boolean) {
    this.#module = module;
    this.#check = () => {
      if (interrupted()) throw new Error("The wasm backend was closed");
    };
  }

  /** Does one step; what it throws is the caller's to know. */
  take(step: SvdStep): SvdAnswer {
    this.#check();
    switch (step.kind) {
      case "begin":
        this.#end();
        this.#work = step.work;
        this.#products = new RowProducts(this.#module, step.work, step.share);
        return DONE;
      case "examine":
        return { kind: "largest", magnitude: begun(this.#products).examine(step.rows) };
      case "pass":
        begun(this.#products).begin(step.pass, 2 ** -step.exponent);
        if (!begun(this.#work).plan.held) return DONE;
        begun(this.#products).addHeld(this.#check);
        begun(this.#products).end();
        return DONE;
      case "rows":
        begun(this.#products).add(step.rows);
        return DONE;
      case "passed":
        begun(this.#products).end();
        return DONE;
      case "lead":
        this.#passes = new SvdLeader(this.#module, begun(this.#work), this.#check).run(step.exponent);
        return this.#advance();
      case "advance":
        return this.#advance();
      case "end":
        this.#end();
        return DONE;
      default:
        return step satisfies never;
    }
  }

  #advance(): SvdAnswer {
    const next = begun(this.#passes).next();
    return next.done ? { kind: "result", svd: next.value } : { kind: "pass", pass: next.value };
  }

  #end(): void {
    this.#work = null;
    this.#products = null;
    this.#passes = null;
  }
}

function begun<T>(part: T | null): T {
  if (part === null) throw new Error("No truncated SVD has been begun");
  return part;
}
