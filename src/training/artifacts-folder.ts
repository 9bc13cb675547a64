// What functions on artifacts take: the folder, or what an export returned.

/** Artifacts: their folder, or what `exportArtifacts` returned. */
export type ArtifactsFolder = string | { readonly folder: string };

/** The folder of artifacts. */
export function folderOf(artifacts: ArtifactsFolder): string {
  return typeof artifacts === "string" ? artifacts : artifacts.folder;
}

/** Where a run is inside the artifacts when nobody names a folder. */
export const RUN_FOLDER = "run";
