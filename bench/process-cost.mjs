// Loaded into a Node process by --import: states what it took, in the file $COST_FILE, when it ends.
import { writeFileSync } from "node:fs";

process.on("exit", () => {
  const { maxRSS, userCPUTime, systemCPUTime } = process.resourceUsage();
  const cost = { peakKiB: maxRSS, cpuSeconds: (userCPUTime + systemCPUTime) / 1e6 };
  writeFileSync(process.env.COST_FILE, JSON.stringify(cost));
});
