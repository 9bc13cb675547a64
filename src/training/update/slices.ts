// Where tensors are cut: at every SLICE_LENGTH values, whatever the number of threads. Sums are taken slice by slice, and
// moments are held in slices, so that a thread can take a part of a tensor.

/** Values of a slice but a tensor's last: half a millisecond of AdamW, beside which handing it out costs little. */
export const SLICE_LENGTH = 2 ** 18;

/** A stretch of a tensor's values: from `from` to before `to`. */
export interface Slice {
  readonly from: number;
  readonly to: number;
}

/** The slices of a tensor of that length, in order; an empty tensor has none. */
export function slicesOf(length: number, sliceLength = SLICE_LENGTH): readonly Slice[] {
  return Array.from({ length: Math.ceil(length / sliceLength) }, (_, index) => ({
    from: index * sliceLength,
    to: Math.min(length, (index + 1) * sliceLength),
  }));
}
