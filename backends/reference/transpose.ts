// The columns of a matrix that is given by rows, and the other way round.

export function transpose(rows: readonly number[][]): number[][] {
  const width = rows[0]?.length ?? 0;
  return Array.from({ length: width }, (_, j) => rows.map((row) => row[j] ?? 0));
}
