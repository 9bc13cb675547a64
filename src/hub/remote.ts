// A model on the Hub read in ranges, without storing anything. Hashes cannot be checked this way; that each range is
// what was asked for, and complete, is.
import { HubError } from "../errors.ts";
import type { HubAnswer, HubClient } from "./client.ts";
import type { Listing, RemoteFile } from "./listing.ts";
import type { ByteRange, ModelFile } from "./model.ts";
import { retrying, TransientError } from "./retry.ts";
import { DEFAULT_BLOCK_BYTES, type ModelSource } from "./source.ts";

/** The files of a listing as a source. */
export function remoteSource(client: HubClient, listing: Listing): ModelSource {
  const closing = new AbortController();
  return {
    id: client.repo.id,
    revision: listing.commit,
    folder: null,
    list: async () => [...listing.files.keys()],
    stat: async (name) => {
      const file = listing.files.get(name);
      return file === undefined ? null : withoutUrl(file);
    },
    read: (file, range) => readRemote(client, remoteOf(listing, file), range, closing.signal),
    close: async () => closing.abort(new Error(`Cannot read ${client.repo.id}: the model is closed`)),
  };
}

function withoutUrl({ name, sizeBytes, sha256, etag }: RemoteFile): ModelFile {
  return { name, sizeBytes, sha256, etag };
}

function remoteOf(listing: Listing, file: ModelFile): RemoteFile {
  const remote = listing.files.get(file.name);
  if (remote === undefined) throw new RangeError(`Cannot read ${file.name}: the model has no such file`);
  return remote;
}

/** Cuts what comes into blocks; where the connection drops, asks for the part that is missing. */
async function* readRemote(
  client: HubClient,
  file: RemoteFile,
  range: ByteRange,
  closing: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const signal = range.signal ? AbortSignal.any([range.signal, closing]) : closing;
  const stream = new RangeStream(client, file, range, signal);
  try {
    const blockBytes = range.blockBytes ?? DEFAULT_BLOCK_BYTES;
    for (let begin = range.begin; begin < range.end; begin += blockBytes) {
      yield await stream.take(Math.min(blockBytes, range.end - begin));
    }
  } finally {
    stream.close();
  }
}

/** Owns the connection over which a range comes. */
class RangeStream {
  readonly #client: HubClient;
  readonly #file: RemoteFile;
  readonly #end: number;
  readonly #signal: AbortSignal;
  #position: number;
  #answer: HubAnswer | null = null;
  #chunks: AsyncIterator<Uint8Array> | null = null;
  /** Received and not yet taken. */
  #rest: Uint8Array = new Uint8Array(0);

  constructor(client: HubClient, file: RemoteFile, range: ByteRange, signal: AbortSignal) {
    this.#client = client;
    this.#file = file;
    this.#position = range.begin;
    this.#end = range.end;
    this.#signal = signal;
  }

  /** The next `length` bytes. */
  async take(length: number): Promise<Uint8Array> {
    const block = new Uint8Array(length);
    let filled = 0;
    while (filled < length) {
      if (this.#rest.length === 0) await this.#receive();
      const part = this.#rest.subarray(0, length - filled);
      block.set(part, filled);
      filled += part.length;
      this.#rest = this.#rest.subarray(part.length);
    }
    return block;
  }

  close(): void {
    this.#answer?.close();
    this.#answer = null;
    this.#chunks = null;
  }

  async #receive(): Promise<void> {
    const attempt = async () => {
      try {
        this.#chunks ??= await this.#ask();
        const chunk = await this.#chunks.next();
        if (chunk.done)
          throw this.#transient(`the connection ended at byte ${this.#position} of ${this.#end}`);
        if (chunk.value.length > this.#end - this.#position) {
          throw new HubError(`Cannot read ${this.#file.name}: the Hub sent more than was asked for`, {
            status: 206,
          });
        }
        this.#position += chunk.value.length;
        this.#rest = chunk.value;
      } catch (error) {
        this.close();
        throw error;
      }
    };
    await retrying(attempt, { policy: this.#client.policy, signals: [this.#client.signal, this.#signal] });
  }

  async #ask(): Promise<AsyncIterator<Uint8Array>> {
    const headers = { range: `bytes=${this.#position}-${this.#end - 1}` };
    this.#answer = await this.#client.get(this.#file.url, { headers, signal: this.#signal });
    if (this.#answer.status === 200) {
      throw new HubError(
        `Cannot read ${this.#file.name} in parts: the server ignores ranges; open the model without streaming`,
        { status: 200 },
      );
    }
    const expected = `bytes ${this.#position}-${this.#end - 1}/${this.#file.sizeBytes}`;
    const got = this.#answer.headers.get("content-range");
    if (got !== expected)
      throw this.#transient(`expected the range "${expected}", got ${JSON.stringify(got)}`);
    return this.#answer.body[Symbol.asyncIterator]();
  }

  #transient(what: string): TransientError {
    return new TransientError(`Cannot read ${this.#file.name}: ${what}`, { status: null });
  }
}
