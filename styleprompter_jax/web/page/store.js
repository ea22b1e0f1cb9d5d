// The images so far: what each is of, what was changed, and how to undo that.
//
// A look is all that can be undone: {latents, edits, mix, refine, options}. `latents` is
// an id where codes were fitted, and null for those that the image was opened with.
// `mix` is {item, layers, share}, and its item another image of the gallery.

import * as api from "./api.js";

const listeners = new Set();
export const items = [];
export let current = null;
let count = 0;

export const listen = (heard) => listeners.add(heard);
const tell = (what) => listeners.forEach((heard) => heard(what));

export const plainLook = () => (
  { latents: null, edits: {}, mix: null, refine: null, options: {} }
);

// source: {kind: "photo", file, points} or {kind: "sample", seed, truncation}.
export function add(source, title) {
  count += 1;
  const item = {
    number: count, title, source, look: plainLook(), past: [], future: [],
    base: null, picture: null, photo: null, before: null, after: null, pending: null,
  };
  items.push(item);
  tell("items");
  return item;
}

export function remove(item) {
  items.splice(items.indexOf(item), 1);
  if (item.after) URL.revokeObjectURL(item.after);
  if (current === item) choose(items[items.length - 1] || null);
  for (const other of items) {
    if (other.look.mix?.item === item) change(other, { mix: null });
  }
  tell("items");
}

export function choose(item) {
  current = item;
  tell("current");
}

// Another item with the same look, which goes its own way from here.
export function copy(item) {
  const twin = add(item.source, item.title);
  Object.assign(twin, {
    base: item.base, picture: item.picture, photo: item.photo, before: item.before,
    look: structuredLook(item.look),
  });
  return twin;
}

const structuredLook = (look) => (
  { ...look, edits: { ...look.edits }, options: { ...look.options } }
);

// Changes a look. Until `settle`, all changes are one step of undo.
export function change(item, changes) {
  if (!item.pending) {
    item.pending = structuredLook(item.look);
  }
  item.look = { ...item.look, ...changes };
  tell("look");
}

export function settle(item) {
  if (!item?.pending) return;
  if (JSON.stringify(shape(item.pending)) !== JSON.stringify(shape(item.look))) {
    item.past.push(item.pending);
    if (item.past.length > 200) item.past.shift();
    item.future = [];
  }
  item.pending = null;
  tell("history");
}

const shape = (look) => (
  { ...look, mix: look.mix && { ...look.mix, item: look.mix.item.number } }
);

export function undo(item) {
  settle(item);
  if (!item.past.length) return;
  item.future.push(item.look);
  item.look = item.past.pop();
  tell("look");
  tell("history");
}

export function redo(item) {
  settle(item);
  if (!item.future.length) return;
  item.past.push(item.look);
  item.look = item.future.pop();
  tell("look");
  tell("history");
}

// Has the server make the latents of an item, once, or again where it forgot them.
export async function bring(item) {
  item.bringing ??= make(item).finally(() => { item.bringing = null; });
  return item.bringing;
}

async function make(item) {
  const { source } = item;
  if (source.kind === "sample") {
    const { seed, truncation } = source;
    item.base = (await api.sample({ seed, truncation })).latents;
    return;
  }
  item.photo = await api.upload(source.file);
  if (source.points === undefined) {
    source.points = item.photo.aligned ? null : item.photo.points;
  }
  await encode(item);
}

// Makes latents of an uploaded photograph, aligned by its points or of its middle.
export async function encode(item) {
  const { points, passes: iterations } = item.source;
  let { picture } = item.photo;
  if (points) picture = (await api.align({ picture, points })).picture;
  const made = await api.encode({ picture, ...(iterations && { iterations }) });
  const url = URL.createObjectURL(await api.picture(made.picture));
  Object.assign(item, { base: made.latents, picture: made.picture, before: url });
  tell("before");
}

// What the server is to be told of a look.
export async function recipe(item) {
  if (!item.base) await bring(item);
  const { latents, edits, mix, refine, options } = item.look;
  const made = { latents: latents ?? item.base, edits, options };
  if (refine !== null) made.refine = refine;
  if (mix) {
    if (!mix.item.base) await bring(mix.item);
    made.mix = {
      latents: mix.item.look.latents ?? mix.item.base,
      layers: mix.layers,
      share: mix.share,
    };
  }
  return made;
}

// Does something with the recipe of an item; once more where the server forgot it.
export async function withRecipe(item, work) {
  const other = item.look.mix?.item;
  try {
    return await work(await recipe(item));
  } catch (error) {
    if (error.status !== 404) throw error;
  }
  for (const one of [item, other]) {
    if (one) {
      one.look.latents = null;
      await bring(one);
    }
  }
  return work(await recipe(item));
}
