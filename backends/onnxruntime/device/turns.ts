// Whose turn it is on a device that several matrices want: of those that have something to do, the one begun first. The
// sooner one is done the sooner a processor has work; in rotation all would be done at once, and then wait at once. Pure.

/** Somebody in line, and what is to be done, in order. */
export interface Client {
  readonly requests: readonly unknown[];
}

/** A line of clients. */
export class Turns<C extends Client> {
  #clients: readonly C[] = [];

  /** Puts a client at the end of the line, wherever it was. */
  begin(client: C): void {
    this.#clients = [...this.#clients.filter((each) => each !== client), client];
  }

  /** The first client that has something to do; null when none has. */
  next(): C | null {
    return this.#clients.find(({ requests }) => requests.length > 0) ?? null;
  }

  /** Takes a client out of the line. */
  end(client: C): void {
    this.#clients = this.#clients.filter((each) => each !== client);
  }
}
