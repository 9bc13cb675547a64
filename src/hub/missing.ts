// The one file error that is no error: there is nothing at the path.

/** For `.catch()`: null when a file or folder does not exist; throws everything else. */
export function nullIfMissing(error: unknown): null {
  if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR")) {
    return null;
  }
  throw error;
}
