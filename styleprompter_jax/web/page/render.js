// From looks to images: one request at a time, and always the latest look.

import * as api from "./api.js";
import * as store from "./store.js";
import { $, complain } from "./dom.js";

let next = null;
let busy = false;
let format = "png";

export function setUp({ width, height }) {
  // Packing a large PNG takes longer than drawing it. What is downloaded is a PNG.
  $("#viewer").style.setProperty("--ratio", width / height);
  format = Math.max(width, height) > 256 ? "jpg" : "png";
}

// Draws an item as it looks now, unless its result shows that. What it looked like before
// is not drawn any more.
export function draw(item, shown) {
  next = { item, shown };
  if (!busy) run();
}

async function run() {
  busy = true;
  $("#frame").setAttribute("aria-busy", true);
  while (next) {
    const { item, shown } = next;
    next = null;
    if (!store.items.includes(item) || !store.isStale(item)) continue;
    try {
      let drawn = null;
      const data = await store.withRecipe(item, (recipe) => {
        drawn = JSON.stringify(recipe);
        return api.decode({ recipe, format });
      });
      if (!store.items.includes(item)) continue; // it was removed meanwhile
      const old = item.after;
      Object.assign(item, { after: URL.createObjectURL(data), drawn });
      shown(item);
      if (old) setTimeout(() => URL.revokeObjectURL(old), 1000);
    } catch (error) {
      if (!store.items.includes(item)) continue;
      if ([429, 503].includes(error.status)) {
        await new Promise((resolve) => setTimeout(resolve, 1000));
        next ??= { item, shown };
      } else if (!next) {
        complain(error);
        shown(item, error);
      }
    }
  }
  busy = false;
  $("#frame").setAttribute("aria-busy", false);
}
