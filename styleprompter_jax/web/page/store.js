// The images so far: what each is of, what was changed, and how to undo that.
//
// A look is all that can be undone: {latents, edits, mix, refine, options}. `latents` is
// an id where codes were fitted, and null for those that the image was opened with.
// `mix` is {item, layers, share}, and its item another image of the gallery.

import * as api from "./api.js";
import { complain } from "./dom.js";

const listeners = new Set();
export const items = [];
export let current = null;
let count = 0;
let turns = 0;

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
    drawn: null, turn: 0,
  };
  items.push(item);
  tell("items");
  return item;
}

export function remove(item) {
  const place = items.indexOf(item);
  if (place < 0) return; // it was removed while it opened
  items.splice(place, 1);
  for (const other of items) {
    if (other.look.mix?.item !== item) continue;
    settle(other); // what was moved before is a step of its own
    change(other, { mix: null });
    settle(other);
  }
  if (item.after) URL.revokeObjectURL(item.after);
  leave(item);
  if (current === item) choose(items[items.length - 1] || null);
  tell("items");
}

// Frees a removed item. If undo or redo brings back a mix with it, it is made again.
function leave(item) {
  release(item);
  item.base = null;
}

// Frees what an item showed, but for what the items still show.
function release({ base, picture, photo, before }) {
  const held = new Set(items.flatMap((one) => (
    [one.base, one.picture, one.photo?.picture, one.before]
  )));
  api.forget([base, picture, photo?.picture].filter((id) => id && !held.has(id)));
  if (before && !held.has(before)) URL.revokeObjectURL(before);
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
  try {
    await open(item);
  } finally {
    if (!isUsed(item)) leave(item); // it was removed while it opened
  }
}

// A removed image is used again if the mix with it is undone.
const isUsed = (item) => items.some((one) => one === item || one.look.mix?.item === item);

async function open(item) {
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
  const made = await encode(item.photo, source);
  if (item.source === source) take(item, made);
  else drop(made);
}

// Makes latents of an uploaded photograph, aligned by its points or of its middle.
async function encode(photo, { points, passes: iterations }) {
  let { picture } = photo;
  if (points) picture = (await api.align({ picture, points })).picture;
  let made;
  try {
    made = await api.encode({ picture, ...(iterations && { iterations }) });
  } finally {
    if (picture !== photo.picture) api.forget([picture]);
  }
  return { ...made, image: await api.picture(made.picture) };
}

// Frees what was encoded for nothing.
const drop = ({ latents, picture }) => api.forget([latents, picture]);

function take(item, { latents, picture, image }) {
  const old = { ...item };
  Object.assign(item, { base: latents, picture, before: URL.createObjectURL(image) });
  release(old);
  tell("before");
}

// Does something with the photograph of an item; again where the server forgot it.
export async function withPhoto(item, work) {
  if (!item.photo) await bring(item);
  try {
    return await work(item.photo);
  } catch (error) {
    if (error.unknown !== item.photo.picture) throw error;
    await bring(item);
    return work(item.photo);
  }
}

// Encodes a photograph with other points or passes; its fitted codes go, and its history
// ends, because codes of another crop must not come back. The item changes only at the
// end, and not if `wanted` is false by then or a later call was faster.
export async function encodeAnew(item, changes, wanted = () => true) {
  turns += 1;
  const turn = turns;
  const source = { ...item.source, ...changes };
  const made = await withPhoto(item, (photo) => encode(photo, source));
  if (item.turn > turn || !wanted() || !items.includes(item)) {
    drop(made);
    return;
  }
  const look = { ...item.look, latents: null };
  Object.assign(item, { source, turn, look, past: [], future: [], pending: null });
  take(item, made);
  tell("look");
}

// Whether the result of an item shows something else than its look, its latents and
// those that it is mixed with.
export const isStale = (item) => item.drawn !== JSON.stringify(told(item));

// What the server is to be told of a look.
async function recipe(item) {
  if (!item.base) await bring(item);
  const other = item.look.mix?.item;
  if (other && !other.base) await bring(other);
  return told(item);
}

function told(item) {
  const { latents, edits, mix, refine, options } = item.look;
  const made = { latents: latents ?? item.base, edits, options };
  if (refine !== null) made.refine = refine;
  if (refine === false) delete made.options; // the refiner has none where it is left out
  if (mix) {
    made.mix = {
      latents: mix.item.look.latents ?? mix.item.base,
      layers: mix.layers,
      share: mix.share,
    };
  }
  return made;
}

// Does something with the recipe of an item; again where the server forgot a part of it:
// the fitted codes or the others, of the item or of the one that it is mixed with.
export async function withRecipe(item, work) {
  for (let parts = 4; ; parts -= 1) {
    try {
      return await work(await recipe(item));
    } catch (error) {
      if (error.unknown === undefined || !parts || !isUsed(item)) throw error;
      forget(item, error.unknown);
      if (item.look.mix) forget(item.look.mix.item, error.unknown);
    }
  }
}

function forget(item, id) {
  if (item.base === id) item.base = null;
  if (item.look.latents !== id) return;
  item.look = { ...item.look, latents: null };
  complain(`The fitted codes of ${item.title} were forgotten: fit again.`);
  tell("look");
}
