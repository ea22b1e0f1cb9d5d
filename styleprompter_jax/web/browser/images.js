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
  return drawn(bitmap, Math.round(bitmap.width * scale), Math.round(bitmap.height * scale));
}

function drawn(source, width, height, transform = null) {
  const canvas = new OffscreenCanvas(Math.max(1, width), Math.max(1, height));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  if (transform) {
    context.setTransform(transform);
    context.drawImage(source, 0, 0);
  } else {
    context.drawImage(source, 0, 0, canvas.width, canvas.height);
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
  const x = (width - source.width * scale) / 2;
  const y = (height - source.height * scale) / 2;
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
