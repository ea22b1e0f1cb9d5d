// Where the page begins: asks what the model is, and puts the parts together.

import * as align from "./align.js";
import * as api from "./api.js";
import * as panels from "./panels.js";
import * as render from "./render.js";
import * as saving from "./saving.js";
import * as sliders from "./sliders.js";
import * as stage from "./stage.js";
import * as store from "./store.js";
import { $, $$, complain, dialog, h, isText, say } from "./dom.js";

let facts = null;

function draw(item) {
  stage.working(!item.after);
  render.draw(item, (drawn) => {
    if (drawn === store.current) {
      stage.working(false);
      stage.show(drawn);
    }
    tiles();
  });
}

store.listen((what) => {
  const item = store.current;
  if (what === "current" || what === "items") {
    tiles();
    $("#gallery").hidden = !store.items.length;
    $("#panel").hidden = $("#tools").hidden = !item;
    $("#code").disabled = $("#save").disabled = !item;
  }
  if (what === "current" || what === "before") stage.show(item);
  if (what === "look" || what === "current") sliders.show(item);
  if (what !== "before") panels.show(item);
  if (item && ["look", "current", "before"].includes(what)) draw(item);
  $("#undo").disabled = !(item?.past.length || item?.pending);
  $("#redo").disabled = !item?.future.length;
});

const cells = new Map();

// The tiles stay the same elements, so that they keep the focus.
function tiles() {
  let lost = false;
  for (const [item, old] of cells) {
    if (!store.items.includes(item)) {
      lost ||= old.contains(document.activeElement);
      old.remove();
      cells.delete(item);
    }
  }
  for (const item of store.items) {
    if (!cells.has(item)) {
      cells.set(item, cell(item));
      $("#tiles").append(cells.get(item));
    }
    const tile = $(".tile", cells.get(item));
    tile.setAttribute("aria-pressed", item === store.current);
    stage.thumb(item, $("img", tile));
  }
  if (lost) $(".tile", cells.get(store.current))?.focus();
}

function cell(item) {
  const tile = h("button", {
    className: "tile", title: item.title, "aria-label": item.title,
    onclick: () => store.choose(item),
    onkeydown: (event) => {
      if (event.key === "Delete") store.remove(item);
    },
  }, stage.thumb(item));
  const close = h("button", {
    className: "close", "aria-label": `Remove ${item.title}`, title: "Remove",
    onclick: () => store.remove(item),
  }, "×");
  return h("div", { className: "cell" }, tile, close);
}

// Opens images. Others were dropped or pasted with them that are none.
async function open(files, others = []) {
  if (files.length || others.length) dialog()?.close();
  if (others.length) {
    const names = others.map((file) => file.name).join(", ");
    complain(`The page cannot open ${names}: choose PNG, JPEG or another usual kind of image.`);
  }
  if (!files.length) return;
  if (!facts) {
    complain("The model is not loaded: wait a moment, or load the page again.");
    return;
  }
  if (!facts.encodes) {
    complain("This model reads no photographs. Draw someone who never was instead.");
    return;
  }
  for (const file of files) {
    const item = store.add({ kind: "photo", file }, file.name || "Image");
    await begin(item);
  }
}

async function begin(item) {
  if (item.source.file?.size > facts.upload.bytes) {
    const most = Math.floor(facts.upload.bytes / 2 ** 20);
    complain(`${item.title} is larger than ${most} MB.`);
    store.remove(item);
    return;
  }
  store.choose(item);
  say(`Opening ${item.title}`);
  try {
    await store.bring(item);
    say(`${item.title} is open.`);
  } catch (error) {
    complain(`${item.title}: ${error.message}`); // it may be one of several
    store.remove(item);
  }
}

function invent(seed, truncation) {
  const item = store.add({ kind: "sample", seed, truncation }, `Nobody ${seed}`);
  return begin(item);
}

async function examples() {
  const place = $("#examples .thumbs");
  $("#examples").hidden = !facts.examples;
  for (let k = 0; k < facts.examples; k += 1) {
    const data = await api.example(k);
    const name = `Example ${k + 1}`;
    place.append(h("button", {
      className: "tile", "aria-label": name,
      onclick: () => open([new File([data], `${name}.png`, { type: "image/png" })]),
    }, stage.thumb({ after: URL.createObjectURL(data) })));
  }
}

function keys() {
  addEventListener("keydown", (event) => {
    const item = store.current;
    const control = event.ctrlKey || event.metaKey;
    if (!item || dialog() || isText(event.target)) return;
    const key = event.key.toLowerCase();
    if (control && key === "z") {
      event.preventDefault();
      (event.shiftKey ? store.redo : store.undo)(item);
    } else if (control && key === "y") {
      event.preventDefault();
      store.redo(item);
    } else if (key === "/" && !stage.isTyping(event)) {
      event.preventDefault();
      $("#tab-edit").click();
      $("#search").focus();
    }
  });
}

async function start() {
  stage.build(open);
  facts = await api.facts();
  $("#model").textContent = facts.model.split("/").pop();
  document.title = `${facts.model.split("/").pop() || "Studio"} · Studio`;
  if (!facts.encodes) {
    $("#choose").hidden = $("#choose-more").hidden = true;
    $("#welcome h2").textContent = "Draw an image";
    $("#invite").textContent = "This model reads no photographs, but it can draw.";
  }
  $("#place").textContent = facts.place;
  render.setUp(facts);
  stage.setUp(facts);
  sliders.build(facts);
  panels.build(facts);
  align.build();
  saving.build(facts);
  keys();
  $("#undo").onclick = () => store.undo(store.current);
  $("#redo").onclick = () => store.redo(store.current);
  $("#invent").onclick = () => invent(Math.floor(Math.random() * 2 ** 31), 0.7);
  $("#add").onclick = () => $("#adding").showModal();
  $("#psi").oninput = () => { $("#psi-value").textContent = Number($("#psi").value).toFixed(2); };
  for (const button of $$(".closes")) button.onclick = () => button.closest("dialog").close();
  $("#adding form").onsubmit = () => {
    invent(Number($("#seed").value), Number($("#psi").value));
    $("#seed").value = Number($("#seed").value) + 1;
  };
  $("#keep").onclick = () => {
    const item = store.current;
    store.settle(item);
    store.choose(store.copy(item));
  };
  $("#align").onclick = () => align.open(store.current).catch(complain);
  document.body.dataset.ready = "yes";
  await examples();
}

start().catch(complain);
