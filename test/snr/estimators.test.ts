import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { openBackend } from "../../backends/index.ts";
import { calibratedEstimate, spectrumStatistics } from "../../src/snr/estimators.ts";
import { gaussianMatrix, plantedMatrix } from "../matrices.ts";

const descending = (values: readonly number[]) => Float64Array.from(values).sort().reverse();

/** Any descending list of plausible singular values, with a shape that fits it. */
const spectra = fc
  .array(fc.double({ min: 1e-3, max: 1e3, noNaN: true }), { minLength: 1, maxLength: 60 })
  .chain((values) =>
    fc.record({
      values: fc.constant(descending(values)),
      extra: fc.integer({ min: 0, max: 200 }),
      tall: fc.boolean(),
    }),
  )
  .map(({ values, extra, tall }) => {
    const long = values.length + extra;
    const shape: [number, number] = tall ? [long, values.length] : [values.length, long];
    return { values, shape };
  });

describe("spectrumStatistics()", () => {
  it("is the published formula, worked by hand", () => {
    // q25 = 1.75, q75 = 3.25, threshold = 1.5 / 1.349 * 2 = 2.2239: signal 4 + 3, noise 2 + 1, sigma_1 = 4.
    const statistics = spectrumStatistics(Float64Array.of(4, 3, 2, 1), [4, 4]);
    expect(statistics.quantiles).toEqual({ q25: 1.75, q50: 2.5, q75: 3.25 });
    expect(statistics.threshold).toBeCloseTo((1.5 / 1.349) * 2, 14);
    expect(statistics.signalValues).toBe(2);
    expect(statistics.snr.spectrum).toBeCloseTo(7 / 3 / 4, 14);
    expect(statistics.stableRank).toBeCloseTo(30 / 16, 14);
  });

  it("counts the noise as 1 where nothing is noise, as the original does", () => {
    const statistics = spectrumStatistics(Float64Array.of(2, 2, 2), [3, 5]);
    expect(statistics.threshold).toBe(0);
    expect(statistics.signalValues).toBe(3);
    expect(statistics.snr.spectrum).toBe(3);
  });

  it("scores 0 where nothing is signal", () => {
    const flat = spectrumStatistics(Float64Array.of(4, 4, 1, 1), [4, 4]);
    expect(flat.threshold).toBeGreaterThan(4);
    expect(flat.signalValues).toBe(0);
    expect(flat.snr.spectrum).toBe(0);
  });

  it("gives a matrix of zeros no score and says so", () => {
    const statistics = spectrumStatistics(new Float64Array(4), [4, 9]);
    expect(statistics.snr).toEqual({ spectrum: null, calibrated: null });
    expect(statistics.unscored?.spectrum).toContain("zero");
    expect(statistics).toMatchObject({ sigmaMax: 0, stableRank: 0, effectiveRank: 0 });
  });

  it("gives a rank-deficient matrix no score by noise that is rounding error", () => {
    const values = Float64Array.of(5, 4, ...new Array<number>(14).fill(3e-8));
    const { snr, unscored } = spectrumStatistics(values, [16, 40]);
    expect(snr).toEqual({ spectrum: null, calibrated: null });
    expect(Object.keys(unscored ?? {})).toEqual(["spectrum", "calibrated"]);
  });

  it("holds only finite numbers, ranks in [1, min(m, n)], and stays so for its own JSON", () => {
    fc.assert(
      fc.property(spectra, ({ values, shape }) => {
        const statistics = spectrumStatistics(values, shape);
        const rank = Math.min(...shape) * (1 + 1e-12);
        expect(statistics.stableRank).toBeGreaterThanOrEqual(1 - 1e-12);
        expect(statistics.stableRank).toBeLessThanOrEqual(rank);
        expect(statistics.effectiveRank).toBeGreaterThanOrEqual(1 - 1e-12);
        expect(statistics.effectiveRank).toBeLessThanOrEqual(rank);
        expect(JSON.parse(JSON.stringify(statistics))).toEqual(statistics);
      }),
    );
  });

  it("rejects a number of values that does not fit the shape", () => {
    expect(() => spectrumStatistics(new Float64Array(3), [4, 9])).toThrow(
      "expected 4 singular values, got 3",
    );
  });
});

describe("calibratedEstimate()", () => {
  const values = new Map<string, Float64Array>();
  const shapes: [number, number][] = [
    [512, 2048],
    [1024, 1024],
    [576, 1536],
  ];
  const truth = 0.5;

  beforeAll(async () => {
    const { backend } = await openBackend("auto", { precision: "exact" });
    const decompose = async (name: string, matrix: Float64Array, shape: [number, number]) => {
      const rows = [new Uint8Array(matrix.buffer)];
      const singular = await backend.singularValues?.({ shape, dtype: "F64", rows });
      if (singular) values.set(name, singular);
    };
    for (const [index, [m, n]] of shapes.entries()) {
      await decompose(`noise ${m}x${n}`, gaussianMatrix(m, n, 7 + index), [m, n]);
    }
    await decompose("planted", plantedMatrix(576, 1536, { rank: 20, snr: truth, seed: 11 }), [576, 1536]);
    await backend.close();
  });

  const valuesOf = (name: string) => {
    const found = values.get(name);
    if (!found) throw new Error(`No singular values of ${name}`);
    return found;
  };

  it.each(shapes)(
    "calls nothing signal in pure noise of %i x %i, and finds its level within 0.5 %%",
    (m, n) => {
      const estimate = calibratedEstimate(valuesOf(`noise ${m}x${n}`), [m, n]);
      expect(estimate.spikes).toBe(0);
      expect(estimate.snr).toBe(0);
      expect(Math.abs((estimate.noiseSigma ?? 0) - 1)).toBeLessThan(0.005);
    },
  );

  it("finds all of 20 planted directions, and their energy within 10 %", () => {
    const estimate = calibratedEstimate(valuesOf("planted"), [576, 1536]);
    expect(estimate.spikes).toBe(20);
    expect(Math.abs((estimate.snr ?? 0) / truth - 1)).toBeLessThan(0.1);
  });

  it("scores W and 10 W the same, where the published rule divides by 10", () => {
    const planted = valuesOf("planted");
    const scaled = planted.map((value) => 10 * value);
    const [one, ten] = [planted, scaled].map((s) => spectrumStatistics(s, [576, 1536]));
    expect((ten?.snr.calibrated ?? 0) / (one?.snr.calibrated ?? 1)).toBeCloseTo(1, 12);
    expect((ten?.snr.spectrum ?? 0) / (one?.snr.spectrum ?? 1)).toBeCloseTo(0.1, 12);
  });

  it("ends for any spectrum, with all spikes above the edge and the others not", () => {
    fc.assert(
      fc.property(spectra, ({ values: singular, shape }) => {
        const { snr, edge, spikes } = calibratedEstimate(singular, shape);
        if (snr === null || edge === null || spikes === null) return;
        expect(snr).toBeGreaterThanOrEqual(0);
        expect(singular.filter((value) => value > edge)).toHaveLength(spikes);
      }),
    );
  });
});
