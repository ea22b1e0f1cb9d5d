// The square that FFHQ's preparation crops: its corners.
export function quad([left, right, , a, b]) {
  const mouth = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
  const eyes = [(left[0] + right[0]) / 2, (left[1] + right[1]) / 2];
  const across = [right[0] - left[0], right[1] - left[1]];
  const down = [mouth[0] - eyes[0], mouth[1] - eyes[1]];
  let x = [across[0] + down[1], across[1] - down[0]];
  const length = Math.max(2.0 * Math.hypot(...across), 1.8 * Math.hypot(...down))
    / Math.hypot(...x);
  x = [x[0] * length, x[1] * length];
  const y = [-x[1], x[0]];
  const c = [eyes[0] + 0.1 * down[0], eyes[1] + 0.1 * down[1]];
  return [[-1, -1], [-1, 1], [1, 1], [1, -1]].map(([i, j]) => (
    [c[0] + i * x[0] + j * y[0], c[1] + i * x[1] + j * y[1]]
  ));
}
