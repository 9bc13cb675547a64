// The lines that show how far a training is, and what an evaluation found.
import type { Evaluation } from "../training/evaluate.ts";
import type { StepReport } from "../training/trainer.ts";
import type { ReportStyle } from "./paint.ts";
import { renderProgressLine } from "./progress.ts";
import { formatBytes, formatCount, formatDuration, formatShare } from "./units.ts";

/** One line of at most `width` cells without a newline: bar, steps, loss, time left, rate, memory. */
export function renderTrainingProgress(report: StepReport, style: ReportStyle): string {
  const { step, steps, loss, remainingMs, tokensPerSecond, memoryBytes } = report;
  return renderProgressLine(
    {
      done: step / steps,
      label: `step ${step}/${steps}  loss ${loss.toFixed(4)}`,
      optional: [
        `${formatDuration(remainingMs)} left`,
        `${formatCount(tokensPerSecond)} tokens/s`,
        formatBytes(memoryBytes),
      ],
      name: "",
    },
    style,
  );
}

/** An evaluation in one line: `loss 3.5117  perplexity 33.50  token accuracy 37.8%  (3507 tokens)`. */
export function renderEvaluation({ loss, perplexity, tokenAccuracy, targets }: Evaluation): string {
  return `loss ${loss.toFixed(4)}  perplexity ${perplexity.toPrecision(4)}  token accuracy ${formatShare(tokenAccuracy)}  (${targets} tokens)`;
}
