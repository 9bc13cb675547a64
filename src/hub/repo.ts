// What a repository on the Hub is called, and where it stands in the Hub's URLs.
import { UsageError } from "../errors.ts";
import { isInnerPath } from "../safetensors/index-file.ts";

/** What a repository holds. */
export type RepoKind = "model" | "dataset";

/** A repository on the Hub, or on a mirror of it. */
export interface HubRepo {
  readonly kind: RepoKind;
  /** `org/name`. */
  readonly id: string;
  /** Branch, tag or commit. */
  readonly revision: string;
}

/**
 * Reads `org/name` or `org/name@revision`; `revision` is one that was stated apart.
 *
 * @throws UsageError when it is no such name, or both state a revision and differ.
 */
export function parseRepo(reference: string, kind: RepoKind, revision?: string): HubRepo {
  const [id = "", ...rest] = reference.split("@");
  const stated = rest.length > 0 ? rest.join("@") : undefined;
  if (!/^[\w.-]{1,96}\/[\w.-]{1,96}$/.test(id) || !id.split("/").every(isRepoPart)) {
    throw new UsageError(
      `Cannot open ${JSON.stringify(reference)}: there is no such ${PLACES[kind]}, and a ${kind} on the Hub is named org/name or org/name@revision; check the name`,
    );
  }
  if (stated !== undefined && revision !== undefined && stated !== revision) {
    throw new UsageError(
      `Cannot open ${reference}: it names one revision, and the options another: ${revision}`,
    );
  }
  const chosen = stated ?? revision ?? "main";
  if (!isInnerPath(chosen)) {
    throw new UsageError(`Cannot open ${id}: ${JSON.stringify(chosen)} is no branch, tag or commit`);
  }
  return { kind, id, revision: chosen };
}

/** What a name is looked for as before the Hub is asked. */
export const PLACES: Readonly<Record<RepoKind, string>> = {
  model: "folder",
  dataset: "file or folder",
};

/** As the Hub allows names; two dashes stand for the slash in the cache. */
function isRepoPart(part: string): boolean {
  return !/^[.-]|[.-]$|--|\.\./.test(part);
}

/** The repository's place below the Hub's endpoint: datasets have a prefix, models none. */
export function repoPath({ kind, id }: Pick<HubRepo, "kind" | "id">): string {
  return kind === "model" ? id : `${kind}s/${id}`;
}
