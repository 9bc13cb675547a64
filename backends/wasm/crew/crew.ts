// A matrix on several threads: the thread that has it opens the large steps to whoever has come to help, and does them
// alone while nobody has. The memory is shared by all of them, and kept for the thread's life.
import { type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import type { Kernels } from "../kernels.ts";
import type { CrewStart, Invitation } from "../protocol.ts";
import type { Layout } from "../singular-values/layout.ts";
import { doChunk, type Step } from "../singular-values/steps.ts";
import { ALONE, type Team } from "../singular-values/team.ts";
import { chaseGroup, chaseStep } from "./bulge-chase.ts";
import { CrewControl } from "./control.ts";
import { chaseFlops, SHARED_ORDER } from "./cost-model.ts";

/** A step of fewer operations takes less than waking somebody for it. */
const LEAST_FLOPS = 2e6;

/** What a crew asks, and what it tells. */
export interface CrewEvents {
  /** Once true, the work in progress throws an Error. */
  readonly interrupted: () => boolean;
  /** Called when a matrix is begun anew: there is more for helpers to do than there was. */
  readonly onRestart: () => void;
}

/** The thread with the matrix. */
export class Crew implements Team {
  readonly helpers: number;
  readonly memory: WebAssembly.Memory<SharedArrayBuffer>;
  readonly #control: CrewControl;
  readonly #invitations: MessagePort;
  readonly #check: () => void;
  readonly #onRestart: () => void;
  #flops = 0;

  constructor({ control, invitations, helpers }: CrewStart, { interrupted, onRestart }: CrewEvents) {
    this.memory = new WebAssembly.Memory<SharedArrayBuffer>({ initial: 2, maximum: 65536, shared: true });
    this.helpers = helpers;
    this.#control = new CrewControl(control);
    this.#invitations = invitations;
    this.#check = () => {
      if (interrupted()) throw new Error("The wasm backend was closed");
    };
    this.#onRestart = onRestart;
  }

  begin(floats: boolean): void {
    this.#flops = 0;
    this.#control.begin(floats);
  }

  restart(floats: boolean): void {
    this.begin(floats);
    this.#onRestart();
  }

  run(kernels: Kernels, step: Step): void {
    this.#admit();
    const take = (chunk: number) => doChunk(kernels, step, chunk);
    if (step.flops >= LEAST_FLOPS && this.#control.present > 0) this.#control.share(step, take, this.#check);
    else for (let chunk = 0; chunk < step.chunks; chunk++) take(chunk);
    this.#count(step.flops);
  }

  chaseBulges(kernels: Kernels, layout: Layout): void {
    this.#admit();
    if (layout.n < SHARED_ORDER) ALONE.chaseBulges(kernels, layout, this.#check);
    else this.#shareChase(kernels, layout);
    this.#count(chaseFlops(layout.n));
  }

  #shareChase(kernels: Kernels, layout: Layout): void {
    const { progress } = this.#control;
    const step = chaseStep(kernels, layout);
    const place = { kernels, progress, seat: 0, check: this.#check };
    progress.fill(0, 0, step.chunks);
    this.#control.share(step, (group) => chaseGroup(place, group, step.args), this.#check);
  }

  #count(flops: number): void {
    this.#flops += flops;
    this.#control.doneMflops = Math.round(this.#flops / 1e6);
  }

  /** Gives the memory to those who have been sent here. It goes from thread to thread: who holds it keeps it from being freed. */
  #admit(): void {
    for (;;) {
      const received: { readonly message: Invitation } | undefined = receiveMessageOnPort(this.#invitations);
      if (received === undefined) return;
      received.message.port.postMessage(this.memory);
      received.message.port.close();
    }
  }
}
