// This tool's name and version, as they stand in the files it writes. A test holds them against package.json.

/** Name and version of this package. */
export const TOOL = { name: "spectrum-tune", version: "0.1.0" } as const;
