// The dialogs that give something to keep: downloads, and code.

import * as api from "./api.js";
import * as store from "./store.js";
import { $, $$, complain, download, h, say, words } from "./dom.js";
import { follow } from "./panels.js";

let pastes = true;

export function build(facts) {
  pastes = facts.aligns && facts.can.paste;
  $("#save-latents").hidden = !facts.can.latents;
  $("#code").hidden = !facts.can.script;
  $("#animation").hidden = !facts.animations.length;
  $("#along").replaceChildren(...facts.directions.map(({ name }) => (
    h("option", { value: name }, words(name))
  )));
  $("#kind").replaceChildren(...facts.animations.map((kind) => (
    h("option", { value: kind }, kind.toUpperCase())
  )));
  $("#save-sweep").disabled = !facts.directions.length;
  $("#save").onclick = open;
  $("#save-png").onclick = () => save((recipe) => api.decode({ recipe }), "png");
  $("#save-photo").onclick = () => save(
    (recipe) => api.unalign({ recipe }), "png", "_photograph",
  );
  $("#save-latents").onclick = () => save(async (recipe) => (
    api.latents((await api.edit(recipe)).latents)
  ), "npz");
  $("#saving form").onsubmit = (event) => {
    event.preventDefault(); // the dialog stays open, and shows the progress
    sweep();
  };
  $("#code").onclick = code;
  for (const button of $$("[data-copy]")) {
    button.onclick = () => copy(button);
  }
}

async function copy(button) {
  const code = $(`#${button.dataset.copy}`);
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch { // pages without HTTPS have no clipboard, and people can refuse it
    getSelection().selectAllChildren(code);
    button.textContent = "Selected: press Ctrl+C";
  }
  setTimeout(() => {
    button.textContent = `Copy ${button.dataset.copy === "python" ? "Python" : "commands"}`;
  }, 2000);
}

const named = (item) => item.title.replace(/\.[^.]*$/, "").replace(/[^\w-]+/g, "_") || "image";

function open() {
  const item = store.current;
  $("#save-photo").hidden = item.source.kind !== "photo" || !pastes;
  const moved = Object.keys(item.look.edits);
  if (moved.length) $("#along").value = moved[moved.length - 1];
  $("#saving").showModal();
}

async function save(make, ending, suffix = "") {
  const item = store.current;
  try {
    download(await store.withRecipe(item, make), `${named(item)}${suffix}.${ending}`);
    say("Downloaded.");
  } catch (error) {
    complain(error);
  }
}

async function sweep() {
  const item = store.current;
  const format = $("#kind").value;
  const body = {
    direction: $("#along").value, frames: Number($("#frames").value), format,
  };
  $("#save-sweep").disabled = true;
  try {
    const { job } = await store.withRecipe(
      item, (recipe) => api.start("sweep", { recipe, ...body }),
    );
    const report = await follow(job, $("#sweeping"), "The animation");
    if (report.state === "done") {
      download(await api.file(job), `${named(item)}_${body.direction}.${format}`);
      say("Downloaded.");
    }
  } catch (error) {
    complain(error);
  } finally {
    $("#save-sweep").disabled = false;
  }
}

async function code() {
  try {
    const { python, command } = await store.withRecipe(store.current, api.script);
    $("#python").textContent = python;
    $("#command").textContent = command;
    $("#shell").hidden = !command;
    $("#coding").showModal();
  } catch (error) {
    complain(error);
  }
}
