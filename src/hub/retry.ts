// When a failed exchange with the Hub is tried again, and how long to wait before.
import { setTimeout as sleep } from "node:timers/promises";
import { HubError } from "../errors.ts";

/** How patient a client is. */
export interface RetryPolicy {
  /** Tries in a row that bring nothing new before it gives up. */
  readonly attempts: number;
  /** Wait before the second try; doubled before each further one. */
  readonly firstDelayMs: number;
  /** The longest wait, also where the Hub asks for a longer one with Retry-After. */
  readonly maxDelayMs: number;
  /** Silence after which a connection counts as dropped. */
  readonly idleTimeoutMs: number;
}

/** Tries for about half a minute; each connection may be silent for one. */
export const DEFAULT_RETRY: RetryPolicy = {
  attempts: 6,
  firstDelayMs: 1000,
  maxDelayMs: 120_000,
  idleTimeoutMs: 60_000,
};

/** A failure that may pass: a dropped connection, too few bytes, 429, 5xx. */
export class TransientError extends HubError {
  /** What the Hub asked for with Retry-After; null when it did not. */
  readonly retryAfterMs: number | null;

  constructor(
    message: string,
    options: ErrorOptions & { status: number | null; retryAfterMs?: number | null },
  ) {
    super(message, options);
    this.retryAfterMs = options.retryAfterMs ?? null;
  }
}

/** Options of {@link retrying}. */
export interface RetryingOptions {
  readonly policy: RetryPolicy;
  /** How far the work is; a try that moved it forward does not count against the policy. */
  readonly progress?: () => number;
  /** Each of them ends the tries and the waits between. */
  readonly signals?: readonly (AbortSignal | undefined)[];
}

/**
 * Tries until it works, the failure is no {@link TransientError}, or the policy's attempts are used up.
 *
 * @throws whatever the last try threw; a signal's reason when it is aborted.
 */
export async function retrying<T>(attempt: () => Promise<T>, options: RetryingOptions): Promise<T> {
  const { policy, progress = () => 0, signals = [] } = options;
  const signal = AbortSignal.any(signals.filter((each) => each !== undefined));
  let reached = progress();
  for (let failures = 1; ; failures++) {
    signal.throwIfAborted();
    try {
      return await attempt();
    } catch (error) {
      if (progress() > reached) failures = 1;
      reached = Math.max(reached, progress());
      if (!(error instanceof TransientError)) throw error;
      if (failures >= policy.attempts) throw lastError(error, failures);
      await sleep(delayMs(failures, policy, error.retryAfterMs), undefined, { signal }).catch((aborted) => {
        signal.throwIfAborted();
        throw aborted;
      });
    }
  }
}

function lastError(error: TransientError, failures: number): HubError {
  return new HubError(`${error.message} (tried ${failures} times); try again later`, {
    cause: error,
    status: error.status,
  });
}

/** Exponential, with up to a quarter of jitter so that many clients do not come back at once. */
function delayMs(failures: number, policy: RetryPolicy, retryAfterMs: number | null): number {
  const backoffMs = policy.firstDelayMs * 2 ** (failures - 1) * (1 + Math.random() / 4);
  return Math.min(Math.max(backoffMs, retryAfterMs ?? 0), policy.maxDelayMs);
}

/** Milliseconds that a Retry-After header asks for (RFC 9110, 10.2.3); null when it says nothing. */
export function parseRetryAfter(header: string | null, now = Date.now()): number | null {
  if (header === null) return null;
  if (/^\s*\d+\s*$/.test(header)) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? null : Math.max(0, date - now);
}
