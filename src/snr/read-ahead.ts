// Reads on while the consumer computes, up to a bound.

/**
 * Yields the blocks of `source` in order, reading on in the background while at most `limitBytes` wait to be taken.
 * The first blocks are asked for at once, before anybody iterates. An error of the source is thrown when the
 * iteration comes to it; a consumer that stops early stops the source.
 */
export function readAhead(source: AsyncIterable<Uint8Array>, limitBytes: number): AsyncIterable<Uint8Array> {
  const waiting: Uint8Array[] = [];
  let waitingBytes = 0;
  let wake = () => {};
  let stopped = false;
  let failure: { readonly error: unknown } | null = null;
  let ended = false;

  const changed = () => new Promise<void>((resolve) => (wake = resolve));
  const fill = async () => {
    try {
      for await (const block of source) {
        if (stopped) return;
        waiting.push(block);
        waitingBytes += block.byteLength;
        wake();
        while (waitingBytes >= limitBytes && !stopped) await changed();
      }
    } catch (error) {
      failure = { error };
    } finally {
      ended = true;
      wake();
    }
  };
  void fill();

  return {
    async *[Symbol.asyncIterator]() {
      try {
        for (;;) {
          const block = waiting.shift();
          if (block) {
            waitingBytes -= block.byteLength;
            wake();
            yield block;
          } else if (ended) {
            if (failure) throw failure.error;
            return;
          } else {
            await changed();
          }
        }
      } finally {
        stopped = true;
        wake();
      }
    },
  };
}
