// Stage one: the Gram matrix to a band with the same eigenvalues, panel by panel, as reduce_panel in kernels/band.c does.
import type { Kernels } from "../kernels.ts";
import type { Layout } from "./layout.ts";
import { panelSteps } from "./steps.ts";
import type { Team } from "./team.ts";

/** Reduces the matrix at `square`, both halves of it, to the band. */
export function reduceToBand(
  team: Team,
  kernels: Kernels,
  layout: Layout,
  checkInterrupted: () => void,
): void {
  const { order, band, bandDoubles, workspace, square, ld } = layout;
  const b = kernels.bandWidth();
  kernels.clear(band, bandDoubles);
  for (let j = 0; j < order; j += b) {
    checkInterrupted();
    const steps = panelSteps(layout, j, kernels);
    if (j > 0) team.run(kernels, steps.updateColumns);
    kernels.factorPanel(square, ld, order, j, band, workspace);
    if (j + b === order) return;
    team.run(kernels, steps.multiplyPanel);
    if (j > 0) team.run(kernels, steps.addShares);
    team.run(kernels, steps.projectPanel);
    kernels.smallMatrices(workspace);
    team.run(kernels, steps.formRows);
  }
}
