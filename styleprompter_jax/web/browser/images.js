// Images as canvases: read, cut, and packed into files.

const MOST = 4096; // pixels of the longer side that are kept

export async function brought(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error("This browser cannot read that image.");
  }
  const scale = Math.min(1, MOST / Math.max(bitmap.width, bitmap.height));
  const made = scaled(
    halved(bitmap, scale),
    Math.max(1, Math.round(bitmap.width * scale)),
    Math.max(1, Math.round(bitmap.height * scale)),
  );
  bitmap.close();
  return made;
}

// An opaque canvas: transparent parts of an image lie over white.
function blank(width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  return [canvas, context];
}

function scaled(source, width, height) {
  const [canvas, context] = blank(width, height);
  context.drawImage(source, 0, 0, width, height);
  return canvas;
}

// The source, halved until the scale leaves at least a half: browsers take too few pixels
// for a larger reduction.
function halved(source, scale) {
  let made = source;
  for (let left = scale; left < 0.5; left *= 2) {
    made = scaled(made, Math.ceil(made.width / 2), Math.ceil(made.height / 2));
  }
  return made;
}

// The source where a transform puts it. Outside of it there are its mirror images, as
// many as the canvas needs.
function drawn(source, width, height, onto) {
  const given = halved(source, Math.hypot(onto.a, onto.b));
  const way = onto.scale(source.width / given.width, source.height / given.height);
  const [canvas, context] = blank(width, height);
  // Neighbours share a row or column of pixels, so there is no gap between them.
  const across = Math.max(1, given.width - 1);
  const down = Math.max(1, given.height - 1);
  const back = way.inverse();
  const corners = [[0, 0], [width, 0], [0, height], [width, height]]
    .map(([x, y]) => back.transformPoint({ x, y }));
  for (const i of tiles(corners.map(({ x }) => x / across))) {
    for (const j of tiles(corners.map(({ y }) => y / down))) {
      const [right, below] = [i % 2 ? -1 : 1, j % 2 ? -1 : 1];
      context.setTransform(way);
      context.translate(
        i * across + (right < 0 ? given.width : 0), j * down + (below < 0 ? given.height : 0),
      );
      context.scale(right, below);
      context.drawImage(given, 0, 0);
    }
  }
  return canvas;
}

// The whole numbers around these places; the source, 0, comes last, over the others.
function tiles(places) {
  const first = Math.floor(Math.min(...places));
  const count = Math.floor(Math.max(...places)) - first + 1;
  return Array.from({ length: count }, (_, k) => first + k)
    .sort((one, other) => Math.abs(other) - Math.abs(one));
}

// The part within four corners, as `quad` gives them, upright.
export function cropped(source, [start, below, , beside], width, height) {
  const across = [(beside[0] - start[0]) / width, (beside[1] - start[1]) / width];
  const down = [(below[0] - start[0]) / height, (below[1] - start[1]) / height];
  const onto = new DOMMatrix([...across, ...down, ...start]).inverse();
  return drawn(source, width, height, onto);
}

// The largest part in the middle with these proportions, in this size.
export function middle(source, width, height) {
  const scale = Math.max(width / source.width, height / source.height);
  if (scale === 1 && source.width === width && source.height === height) return source;
  let x = (width - source.width * scale) / 2;
  let y = (height - source.height * scale) / 2;
  if (scale === 1) [x, y] = [Math.ceil(x), Math.ceil(y)]; // whole pixels stay sharp
  return drawn(source, width, height, new DOMMatrix([scale, 0, 0, scale, x, y]));
}

// Numbers from -1 to 1, three for each pixel.
export function toPixels(canvas) {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const values = new Float32Array((data.length / 4) * 3);
  for (let k = 0; k < data.length / 4; k += 1) {
    for (let c = 0; c < 3; c += 1) values[3 * k + c] = data[4 * k + c] / 127.5 - 1;
  }
  return values;
}

export const toFile = (canvas, format = "png") => canvas.convertToBlob(
  format === "jpg" ? { type: "image/jpeg", quality: 0.92 } : { type: "image/png" },
);
