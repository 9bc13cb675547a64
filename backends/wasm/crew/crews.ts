// Which threads of a pool help which others: sent where a cost model says, called back when a matrix waits for a thread.
import type { PoolWorker } from "../pool-worker.ts";
import { MAX_HELPERS } from "./control.ts";

interface Post {
  readonly leader: PoolWorker;
  readonly seat: number;
  calledBack: boolean;
}

/** Owns who is where. */
export class Crews {
  readonly #posts = new Map<PoolWorker, Post>();
  readonly #back: (helper: PoolWorker) => void;

  /** @param back - called with each helper that has left, whether it lives or not. */
  constructor(back: (helper: PoolWorker) => void) {
    this.#back = back;
  }

  /** Helpers of a thread, those not counted that have been called back. */
  size(leader: PoolWorker): number {
    return this.#of(leader).filter(([, post]) => !post.calledBack).length;
  }

  hasSeat(leader: PoolWorker): boolean {
    return this.#of(leader).length < MAX_HELPERS;
  }

  /** Sends a free thread to help another. One that dies there takes the other with it: its chunk is lost. */
  send(helper: PoolWorker, leader: PoolWorker): void {
    const taken = new Set(this.#of(leader).map(([, { seat }]) => seat));
    let seat = 1;
    while (taken.has(seat)) seat++;
    this.#posts.set(helper, { leader, seat, calledBack: false });
    const done = () => {
      this.#posts.delete(helper);
      this.#back(helper);
    };
    helper.help(leader, seat).then(done, (error: Error) => {
      leader.fail(error);
      done();
    });
  }

  /** Calls all helpers of a thread back. */
  dismiss(leader: PoolWorker): void {
    for (const [helper, post] of this.#of(leader)) this.#callBack(helper, post);
  }

  /** Calls one helper back, whichever; false when there is none to call. */
  callOne(): boolean {
    for (const [helper, post] of this.#posts) {
      if (post.calledBack) continue;
      this.#callBack(helper, post);
      return true;
    }
    return false;
  }

  #callBack(helper: PoolWorker, post: Post): void {
    if (post.calledBack) return;
    post.calledBack = true;
    post.leader.dismissHelper(post.seat);
    helper.leave();
  }

  #of(leader: PoolWorker): [PoolWorker, Post][] {
    return [...this.#posts].filter(([, post]) => post.leader === leader);
  }
}
