// From which order on stage one's large products go to a device that keeps the matrix: an estimate, docs/decisions/0012. Pure.

/** Of a thread of the processor, in float64, as measured for onnxruntime-cpu: GFLOP/s. */
const PROCESSOR_GFLOPS = 45;
/** Of a device, in float32: what an integrated one reaches. Not measured. */
const DEVICE_GFLOPS = 1000;
/** From a thread to the device and back, results read: of each panel. Not measured. */
const ROUND_TRIP_MS = 2;
/** What the matrix takes on its way up, GB/s. Not measured. */
const UPLOAD_GBPS = 5;
/** Columns of a panel, and the order that is left to the processor. */
const [PANEL, SMALL_ORDER] = [32, 640];

/** Orders that are looked at: nothing larger fits WebAssembly's memory. */
const [STEP, LARGEST_ORDER] = [512, 32768];

/** Milliseconds of a matrix's stage one, by one thread and by the device. */
export function stageMs(order: number): { readonly processor: number; readonly device: number } {
  const cubes = order ** 3 - SMALL_ORDER ** 3;
  const panels = (order - SMALL_ORDER) / PANEL;
  return {
    // The lower half multiplied and updated.
    processor: ((4 / 3) * cubes) / (PROCESSOR_GFLOPS * 1e6),
    // All of it.
    device:
      panels * ROUND_TRIP_MS + (2 * cubes) / (DEVICE_GFLOPS * 1e6) + (4 * order ** 2) / (UPLOAD_GBPS * 1e6),
  };
}

/**
 * The least order, a multiple of 512, from which on the device does stage one of all threads' matrices sooner than they would;
 * Infinity: none.
 */
export function stageOrder(threads: number): number {
  for (let order = STEP * Math.ceil(SMALL_ORDER / STEP); order <= LARGEST_ORDER; order += STEP) {
    const { processor, device } = stageMs(order);
    if (processor >= threads * device) return order;
  }
  return Number.POSITIVE_INFINITY;
}
