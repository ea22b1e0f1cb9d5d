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
  return scaled(
    bitmap,
    Math.max(1, Math.round(bitmap.width * scale)),
    Math.max(1, Math.round(bitmap.height * scale)),
  );
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

// The source where a transform puts it. Outside of it there are its mirror images.
function drawn(source, width, height, onto) {
  let given = source;
  let way = onto;
  // Firefox takes too few pixels for a large reduction: halve the source first.
  while (Math.hypot(way.a, way.b) < 0.5 && given.width > 1 && given.height > 1) {
    const half = scaled(given, Math.ceil(given.width / 2), Math.ceil(given.height / 2));
    way = way.scale(given.width / half.width, given.height / half.height);
    given = half;
  }
  const [canvas, context] = blank(width, height);
  const places = [-1, 1, 0]; // the source itself comes last, over the edges of the others
  for (const i of places) {
    for (const j of places) {
      context.setTransform(way);
      // A mirror image overlaps the source by a pixel, so there is no gap.
      context.transform(
        i ? -1 : 1, 0, 0, j ? -1 : 1,
        [1, 0, 2 * given.width - 1][i + 1], [1, 0, 2 * given.height - 1][j + 1],
      );
      context.drawImage(given, 0, 0);
    }
  }
  return canvas;
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
