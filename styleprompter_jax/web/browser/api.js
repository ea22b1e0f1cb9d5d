// The model in the browser. The page uses these functions in place of those of the HTTP
// interface, and there is no server: images and codes stay here.

import { brought, cropped, middle, toFile, toPixels } from "./images.js";
import { programs, run } from "./model.js";
import { checked, quad } from "./quad.js";

const pictures = new Map();
const kept = new Map();
let count = 0;
let known = null;

const keep = (things, thing) => {
  count += 1;
  things.set(String(count), thing);
  return String(count);
};

const find = (things, id) => {
  if (!things.has(id)) {
    throw Object.assign(new Error("That image is gone."), { status: 404, unknown: id });
  }
  return things.get(id);
};

export async function facts() {
  const manifest = await programs();
  const { encode, synthesize } = manifest.programs;
  const [, height, width, channels] = (encode ?? { inputs: synthesize.outputs }).inputs.image.shape;
  const encodes = Boolean(encode) && channels === 3;
  known = {
    model: manifest.model.name,
    height, width, encodes,
    codes: synthesize.inputs.w_plus.shape[1],
    aligns: encodes && height === width,
    passes: manifest.passes,
    examples: encodes ? manifest.page.examples : 0,
    animations: [],
    refiner: manifest.refiner,
    // An object has names like "7" first; the programs have the order of `index`.
    directions: Object.entries(manifest.directions).map(([name, one]) => ({ name, ...one }))
      .sort((one, other) => one.index - other.index),
    upload: { bytes: 2 ** 26 },
    can: {},
    place: "Images stay in this browser. Nothing is sent anywhere.",
  };
  return known;
}

export async function example(number) {
  const answer = await fetch(`examples/${number}.png`);
  if (!answer.ok) throw new Error("The example is missing.");
  return answer.blob();
}

export async function upload(file) {
  const bitmap = await brought(file);
  const { width, height } = bitmap;
  return { picture: keep(pictures, bitmap), width, height, aligned: true, points: null };
}

// Frees images and codes that nothing shows any more.
export function forget(ids) {
  for (const id of ids) pictures.delete(id) || kept.delete(id);
}

export const picture = (id) => toFile(find(pictures, id));

export async function align({ picture: id, points }) {
  const photo = find(pictures, id);
  const corners = checked(points, quad(points), photo);
  const cut = cropped(photo, corners, known.width, known.height);
  return { picture: keep(pictures, cut) };
}

export async function encode({ picture: id, iterations }) {
  const cut = middle(find(pictures, id), known.width, known.height);
  const image = toPixels(cut);
  let made = null;
  const { inputs } = (await programs()).programs.encode;
  let before = null;
  if (inputs.before) before = (await mapped(null, 0)).w_plus;
  for (let pass = 0; pass < (iterations || known.passes || 1); pass += 1) {
    made = await run("encode", { image, ...(before && { before }) });
    before &&= made.w_plus;
  }
  return { latents: keep(kept, { ...made, encoded: true }), picture: keep(pictures, cut) };
}

// Normal numbers from a seed; other ones than NumPy's.
function normal(seed, size) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 2 ** 32;
  };
  return Float32Array.from({ length: size }, () => (
    Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next())
  ));
}

async function mapped(seed, psi) {
  const size = (await programs()).programs.map.inputs.z.shape[1];
  const z = seed === null ? new Float32Array(size) : normal(seed, size);
  return run("map", { z, psi: Float32Array.of(psi) });
}

export async function sample({ seed, truncation }) {
  return { latents: keep(kept, await mapped(seed, truncation)) };
}

// The codes of a recipe: first mixed, then edited.
async function moved({ latents, mix, edits }) {
  const own = find(kept, latents).w_plus;
  const w_plus = Float32Array.from(own);
  if (mix) {
    const other = find(kept, mix.latents).w_plus;
    const size = w_plus.length / known.codes;
    for (const layer of mix.layers) {
      for (let k = layer * size; k < (layer + 1) * size; k += 1) {
        w_plus[k] += mix.share * (other[k] - w_plus[k]);
      }
    }
  }
  if (!Object.keys(edits).length) return w_plus;
  const strengths = Float32Array.from(known.directions, ({ name }) => edits[name] ?? 0);
  return (await run("edit", { w_plus, strengths })).edited;
}

// The options of the refiner: those of the recipe, or the least that its edits ask for.
function chosen({ edits, options }) {
  const asked = known.directions.filter(({ name }) => edits[name]);
  return Object.fromEntries(Object.entries(known.refiner.options).map(([name, defaults]) => {
    const least = defaults.map((value, k) => (asked.length
      ? Math.min(...asked.map((one) => [one.options[name] ?? value].flat()[k] ?? value))
      : value));
    return [name, Float32Array.from(options[name] ?? least)];
  }));
}

export async function decode({ recipe, format }) {
  const w_plus = await moved(recipe);
  const { w_plus: _, encoded, ...features } = find(kept, recipe.latents);
  const refines = encoded && known.refiner && recipe.refine !== false;
  const { image } = refines
    ? await run("decode", { w_plus, ...features, ...chosen(recipe) })
    : await run("synthesize", { w_plus });
  const side = Math.sqrt(image.length / 3);
  return toFile(middle(fromImage(image, side), ...shown(side)), format);
}

// The part of an output that shows an image of the input's proportions.
const shown = (side) => {
  const { width, height } = known;
  return [
    Math.min(side, Math.floor((side * width) / height)),
    Math.min(side, Math.floor((side * height) / width)),
  ];
};

function fromImage(values, side) {
  const pixels = new ImageData(side, side);
  for (let k = 0; k < side * side; k += 1) {
    for (let c = 0; c < 3; c += 1) {
      pixels.data[4 * k + c] = Math.round((values[3 * k + c] + 1) * 127.5);
    }
    pixels.data[4 * k + 3] = 255;
  }
  const canvas = new OffscreenCanvas(side, side);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}
