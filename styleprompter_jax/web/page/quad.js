// The square that FFHQ's preparation crops: its corners. A point is (0, 0) at the centre of
// the first pixel, a corner is (0, 0) at the outer corner of that pixel, as in a canvas.
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
  const c = [eyes[0] + 0.1 * down[0] + 0.5, eyes[1] + 0.1 * down[1] + 0.5];
  return [[-1, -1], [-1, 1], [1, 1], [1, -1]].map(([i, j]) => (
    [c[0] + i * x[0] + j * y[0], c[1] + i * x[1] + j * y[1]]
  ));
}

const WIDEST = 4; // largest side of a crop, as a multiple of the photograph's longer side

// The corners, if the points can be those of a face in a photograph of this size.
export function checked([left, right, , a, b], corners, { width, height }) {
  const across = [right[0] - left[0], right[1] - left[1]];
  const down = [0, 1].map((k) => (a[k] + b[k] - left[k] - right[k]) / 2);
  if (!(across[0] * down[1] - across[1] * down[0] > 0)) {
    throw new Error("The positions of eyes and mouth are impossible for a face: put the eye "
      + "on the left of the image first.");
  }
  for (const [k, size] of [width, height].entries()) {
    const places = corners.map((corner) => corner[k]);
    const edge = Math.min(1, size / 2); // a whole photograph may be one pixel wide
    if (Math.max(...places) <= edge || Math.min(...places) >= size - edge) {
      throw new Error("The face is outside the photograph.");
    }
  }
  const [start, below, , beside] = corners;
  const longest = Math.max(...[below, beside].map((one) => (
    Math.hypot(one[0] - start[0], one[1] - start[1])
  )));
  if (longest > WIDEST * Math.max(width, height)) {
    throw new Error(`The crop would be ${Math.round(longest)} pixels wide in a photograph of `
      + `${width} x ${height}.`);
  }
  return corners;
}
