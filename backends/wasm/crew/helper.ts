// A thread without a matrix that helps another with its own: it takes chunks of that one's steps until it is sent away.
import type { MessagePort } from "node:worker_threads";
import { instantiateKernels, type Kernels } from "../kernels.ts";
import { stackEnd } from "../singular-values/layout.ts";
import { doChunk } from "../singular-values/steps.ts";
import { chaseGroup } from "./bulge-chase.ts";
import { CrewControl, type OpenStep } from "./control.ts";

/** Whom to help. */
export interface Call {
  readonly control: SharedArrayBuffer;
  /** Number of this helper among those of that thread, from 1. */
  readonly seat: number;
  /** Where the memory comes from. */
  readonly port: MessagePort;
}

/** Owns a thread's part in the work of others. */
export class Helper {
  readonly #module: WebAssembly.Module;
  readonly #isClosed: () => boolean;
  #waiting: MessagePort | null = null;

  constructor(module: WebAssembly.Module, isClosed: () => boolean) {
    this.#module = module;
    this.#isClosed = isClosed;
  }

  /** Waits for the memory, then helps; calls `left` once it has been sent away. */
  help({ control, seat, port }: Call, left: () => void): void {
    this.#waiting = port;
    port.on("message", (memory: WebAssembly.Memory<SharedArrayBuffer>) => {
      if (this.#waiting !== port) return;
      this.#waiting = null;
      port.close();
      this.#attend(new CrewControl(control), seat, memory);
      left();
    });
  }

  /** Ends a wait for the memory; true when there was one. */
  stopWaiting(): boolean {
    if (this.#waiting === null) return false;
    this.#waiting.close();
    this.#waiting = null;
    return true;
  }

  #attend(control: CrewControl, seat: number, memory: WebAssembly.Memory<SharedArrayBuffer>): void {
    const kernels = this.#instantiate(memory, seat);
    const gone = new Error("The thread that was helped is gone");
    const check = () => {
      if (control.isAbandoned || this.#isClosed()) throw gone;
    };
    const place = { kernels, progress: control.progress, seat, check };
    const take = ({ name, args }: OpenStep, chunk: number) => {
      if (name === "chaseBulges") chaseGroup(place, chunk, args);
      else doChunk(kernels, { name, args }, chunk);
    };
    try {
      control.attend(seat, take, this.#isClosed);
    } catch (error) {
      if (error !== gone) throw error;
    }
  }

  #instantiate(memory: WebAssembly.Memory<SharedArrayBuffer>, seat: number): Kernels {
    const kernels = instantiateKernels(this.#module, memory);
    kernels.__stack_pointer.value = stackEnd(kernels, seat);
    return kernels;
  }
}
