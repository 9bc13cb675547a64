// The few error classes that callers branch on. Everything else throws the built-in class by meaning.

/** The caller asked for something that cannot be: a bad option, a name that matches nothing. The command line exits with 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** A backend that was chosen explicitly cannot run here; the message says why and what to install. */
export class BackendUnavailableError extends Error {
  override readonly name = "BackendUnavailableError";
}

/**
 * A matrix that has no singular values here, through no fault of anyone who read it: it holds NaN or Infinity, or a
 * backend cannot hold it. The scan lists the module as skipped and scores the others.
 */
export class MatrixError extends RangeError {
  override readonly name = "MatrixError";
}

/** The Hub, or a mirror of it, refused or failed for good, retries included. */
export class HubError extends Error {
  override readonly name = "HubError";
  /** HTTP status of the last answer, or null when there was none. */
  readonly status: number | null;

  constructor(message: string, options: ErrorOptions & { readonly status: number | null }) {
    super(message, options);
    this.status = options.status;
  }
}
