// Where a run's numbers go: metrics.jsonl and TensorBoard's event file, under the same names.
import { join } from "node:path";
import { openMetrics } from "./metrics.ts";
import { openEventFile, type Scalars } from "./tensorboard.ts";

/** An open log. */
export interface RunLog {
  write(step: number, scalars: Scalars): Promise<void>;
  close(): Promise<void>;
}

/** Opens the log of a run that stands after `step` updates, in its folder. */
export async function openRunLog(folder: string, step: number): Promise<RunLog> {
  const metrics = await openMetrics(join(folder, "metrics.jsonl"), step);
  const events = await openEventFile(join(folder, "tensorboard"), step + 1);
  return {
    async write(at, scalars) {
      await metrics.write({ step: at, ...scalars });
      await events.write(at, scalars);
    },
    async close() {
      await metrics.close();
      await events.close();
    },
  };
}
