// Loaded into a Node process by --import: states its peak resident memory, in KiB, in $PEAK_FILE when it ends.
import { writeFileSync } from "node:fs";

process.on("exit", () => writeFileSync(process.env.PEAK_FILE, String(process.resourceUsage().maxRSS)));
