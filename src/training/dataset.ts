// A dataset by what a person calls it: a file, a folder, or a name on the Hub.
import { stat } from "node:fs/promises";
import { chooseDataFiles } from "../chat/choose-data-files.ts";
import { DATA_EXTENSIONS, extensionOf } from "../chat/data-files.ts";
import { datasetFiles } from "../chat/read-dataset.ts";
import { UsageError } from "../errors.ts";
import { nullIfMissing } from "../hub/missing.ts";
import { type OpenDatasetOptions, openDataset } from "../hub/open-dataset.ts";
import { parseRepo } from "../hub/repo.ts";

/**
 * The files of a dataset on this machine. A name is first looked for as a file or folder; else it is a dataset on the
 * Hub, `org/name[@revision][:[config/]split]`, whose files are downloaded into the Hub cache unless they are there. They
 * are chosen as Python's `datasets` does: by the configs that README.md declares, else by their names; the split is
 * `train` unless it is named.
 *
 * @throws UsageError when it is neither, or has no such config or split, or no file that can be read; HubError when the
 * Hub refuses or fails.
 *
 * @example
 * const files = await fetchDataset("HuggingFaceTB/smoltalk:all/test");
 */
export async function fetchDataset(
  reference: string,
  options: OpenDatasetOptions = {},
): Promise<readonly string[]> {
  if (isPath(reference) || (await stat(reference).catch(nullIfMissing)) !== null)
    return datasetFiles(reference);
  const { repo, config, split } = parseReference(reference);
  const dataset = await openDataset(repo, options);
  const id = repo.revision === "main" ? repo.id : `${repo.id}@${repo.revision}`;
  const readme = await dataset.card();
  return dataset.fetch(chooseDataFiles(dataset.names, { id, readme, config, split }));
}

/** Whether a name can only be one of a file or folder. */
function isPath(reference: string): boolean {
  return (
    /^(\.{0,2}[/\\]|~|[A-Za-z]:[/\\])/.test(reference) || DATA_EXTENSIONS.includes(extensionOf(reference))
  );
}

const REFERENCE = /^(?<name>[^:]+)(?::(?:(?<config>[^:/]+)\/)?(?<split>\w+(?:\.\w+)*))?$/;

function parseReference(reference: string) {
  const { name, config = null, split = "train" } = REFERENCE.exec(reference)?.groups ?? {};
  if (name !== undefined) return { repo: parseRepo(name, "dataset"), config, split };
  throw new UsageError(
    `Cannot open ${JSON.stringify(reference)}: there is no such file or folder, and a dataset on the Hub is named org/name[@revision][:[config/]split]; check the name`,
  );
}
