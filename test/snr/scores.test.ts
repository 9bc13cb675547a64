import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { openModel } from "../../src/hub/open-model.ts";
import { scan } from "../../src/snr/scan.ts";

/** What scripts/fixtures/tiny-models.py computed with torch, in float64. */
interface Expected {
  readonly snr: number;
  readonly snrFloat32: number;
  readonly sigmaMax: number;
  readonly sigmaMin: number;
  readonly threshold: number;
  readonly q25: number;
  readonly q50: number;
  readonly q75: number;
  readonly effectiveRank: number;
  readonly stableRank: number;
  readonly noiseSigma: number;
  readonly edge: number;
  readonly spikes: number;
  readonly calibrated: number;
}

/** Name of a fixture, and the folder of its model. */
const MODELS: readonly { readonly name: string; readonly folder: string; readonly fixture: string }[] = [
  {
    name: "wordnet-llama-2m",
    folder: "examples/wordnet-llama-2m",
    fixture: "test/fixtures/wordnet-llama-2m",
  },
  ...["llama", "llama-sharded", "llama-f16", "llama-f8", "gpt2", "mixtral", "mixtral-fused"].map((name) => ({
    name,
    folder: `test/fixtures/models/${name}`,
    fixture: `test/fixtures/models/${name}`,
  })),
];

const path = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const relative = (actual: number, expected: number) => Math.abs(actual - expected) / Math.abs(expected);

describe.each(MODELS)("scores of $name", ({ folder, fixture }) => {
  it("equal the published formulae and the calibrated ones in torch, module by module", async () => {
    const model = await openModel(path(folder));
    const { modules } = await scan(model, { cache: false });
    await model.close();
    const expected = new Map<string, Expected>(
      Object.entries(JSON.parse(readFileSync(path(`${fixture}/expected.json`), "utf8"))),
    );
    const scored = modules.filter(({ snr }) => snr);
    expect(scored.map(({ name }) => name).sort()).toEqual([...expected.keys()].sort());
    for (const module of scored) {
      const truth = expected.get(module.name);
      if (!truth) throw new Error(`No expected score of ${module.name}`);
      // 1e-9 is the contract where no value is near zero or the threshold; near zero it is 1e-4.
      const tolerance = truth.sigmaMin >= 1e-6 * truth.sigmaMax ? 1e-9 : 1e-4;
      const { quantiles, snr } = module;
      const pairs: Record<string, readonly [number | null | undefined, number]> = {
        snr: [snr?.spectrum, truth.snr],
        sigmaMax: [module.sigmaMax, truth.sigmaMax],
        threshold: [module.threshold, truth.threshold],
        q25: [quantiles?.q25, truth.q25],
        q50: [quantiles?.q50, truth.q50],
        q75: [quantiles?.q75, truth.q75],
        stableRank: [module.stableRank, truth.stableRank],
        effectiveRank: [module.effectiveRank, truth.effectiveRank],
        noiseSigma: [module.noiseSigma, truth.noiseSigma],
        edge: [module.edge, truth.edge],
      };
      for (const [what, [actual, wanted]] of Object.entries(pairs)) {
        expect(relative(actual ?? Number.NaN, wanted), `${what} of ${module.name}`).toBeLessThan(tolerance);
      }
      const squareError = Math.abs((module.sigmaMin ?? Number.NaN) ** 2 - truth.sigmaMin ** 2);
      expect(squareError, `sigmaMin of ${module.name}`).toBeLessThan(1e-13 * truth.sigmaMax ** 2);
      expect(module.spikes, `spikes of ${module.name}`).toBe(truth.spikes);
      const calibratedError = Math.abs((snr?.calibrated ?? Number.NaN) - truth.calibrated);
      expect(calibratedError, `calibrated of ${module.name}`).toBeLessThan(1e-8 * (1 + truth.calibrated));
      expect(relative(snr?.spectrum ?? Number.NaN, truth.snrFloat32), module.name).toBeLessThan(1e-5);
    }
  });
});
