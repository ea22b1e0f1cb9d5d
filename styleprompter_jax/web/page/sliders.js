// The panel of directions: groups, search, presets.

import * as store from "./store.js";
import { $, h, marks, slider, times, words } from "./dom.js";

const sliders = new Map();
let directions = [];
let shelf = "";

// Directions that share their first words stand together: hair_long, hair_bob; and the
// longest such beginning counts: hair_color_red stands under "Hair color".
export function grouped(names) {
  const counts = new Map();
  for (const name of names) {
    const parts = name.split("_");
    for (let k = 1; k < parts.length; k += 1) {
      const start = parts.slice(0, k).join("_");
      counts.set(start, (counts.get(start) || 0) + 1);
    }
  }
  const groups = new Map([["", []]]);
  for (const name of names) {
    const parts = name.split("_");
    let group = "";
    for (let k = parts.length - 1; k > 0 && !group; k -= 1) {
      const start = parts.slice(0, k).join("_");
      if (counts.get(start) > 1) group = start;
    }
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push(name);
  }
  return groups;
}

export function build(facts) {
  directions = facts.directions;
  shelf = `styleprompter-presets:${facts.model}`;
  const byName = new Map(directions.map((one) => [one.name, one]));
  const places = [];
  for (const [group, names] of grouped([...byName.keys()])) {
    if (!names.length) continue;
    const rows = names.map((name) => row(byName.get(name), group));
    const title = group ? words(group) : "Features";
    places.push(
      h("details", { open: places.length < 3, className: "group" },
        h("summary", {}, h("span", {}, title), h("span", { className: "moved-count" })),
        ...rows),
    );
  }
  $("#groups").replaceChildren(...places);
  $("#search").hidden = $("#reset").hidden = !directions.length;
  $(".presets").hidden = !directions.length;
  if (!directions.length) {
    $("#groups").append(h("p", {}, "This model has no directions. ",
      "`styleprompter directions` finds some."));
  }
  $("#search").oninput = search;
  $("#reset").onclick = () => apply({});
  $("#store").onclick = keep;
  $("#presets").onchange = preset;
  listPresets();
}

function row({ name, range: [low, high], origin }, group) {
  const label = words(group ? name.slice(group.length + 1) : name);
  const made = slider({
    label: group ? `${words(group)}: ${label}` : label,
    ...marks(low, high),
    value: 0, zero: 0, reset: 0,
    changed(value) {
      const edits = { ...store.current.look.edits, [name]: value };
      if (!value) delete edits[name];
      store.change(store.current, { edits });
    },
    settled: () => store.settle(store.current),
  });
  made.row.querySelector(".name").textContent = label;
  made.row.dataset.name = name.replaceAll("_", " ").toLowerCase();
  if (origin) made.row.title = `Found from ${origin}`;
  sliders.set(name, made);
  return made.row;
}

// Puts the sliders where a look has them.
export function show(item) {
  const edits = item?.look.edits || {};
  for (const [name, made] of sliders) made.set(edits[name] ?? 0);
  const moved = Object.keys(edits).length;
  $("#reset").disabled = $("#store").disabled = !moved;
  for (const group of document.querySelectorAll(".group")) {
    const count = group.querySelectorAll(".slider.moved").length;
    group.querySelector(".moved-count").textContent = count ? `${count} moved` : "";
  }
}

function apply(edits) {
  store.change(store.current, { edits });
  store.settle(store.current);
}

function search() {
  const wanted = $("#search").value.trim().toLowerCase();
  let found = 0;
  for (const group of document.querySelectorAll(".group")) {
    const title = group.querySelector("summary span").textContent.toLowerCase();
    let here = 0;
    for (const one of group.querySelectorAll(".slider")) {
      const fits = `${title} ${one.dataset.name}`.includes(wanted);
      one.hidden = !fits;
      here += fits;
    }
    group.hidden = !here;
    group.classList.toggle("sought", Boolean(wanted));
    if (wanted && here) group.open = true;
    found += here;
  }
  $("#none").hidden = found > 0 || !directions.length;
}

const presets = () => {
  try {
    return JSON.parse(localStorage.getItem(shelf)) || {};
  } catch {
    return {};
  }
};

function listPresets() {
  const own = Object.keys(presets()).sort();
  $("#presets").replaceChildren(
    h("option", { value: "" }, "Presets"),
    h("option", { value: "surprise" }, "Surprise me"),
    ...own.map((name) => h("option", { value: `own:${name}` }, name)),
    ...(own.length ? [h("option", { value: "forget" }, "Forget all presets")] : []),
  );
}

function preset() {
  const chosen = $("#presets").value;
  $("#presets").value = "";
  if (chosen === "surprise") {
    const some = [...directions].sort(() => Math.random() - 0.5).slice(0, 3);
    apply(Object.fromEntries(some.map(({ name, range: [low, high] }) => {
      const { step } = marks(low, high);
      const strength = (low + Math.random() * (high - low)) * 0.8;
      return [name, times(Math.round(strength / step), step)];
    })));
  } else if (chosen === "forget") {
    localStorage.removeItem(shelf);
    listPresets();
  } else if (chosen.startsWith("own:")) {
    const known = new Set(directions.map((one) => one.name));
    const edits = presets()[chosen.slice(4)] || {};
    apply(Object.fromEntries(Object.entries(edits).filter(([name]) => known.has(name))));
  }
}

function keep() {
  const dialog = $("#naming");
  $("#preset-name").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  dialog.onclose = () => {
    const name = $("#preset-name").value.trim();
    if (dialog.returnValue !== "save" || !name) return;
    localStorage.setItem(
      shelf, JSON.stringify({ ...presets(), [name]: store.current.look.edits }),
    );
    listPresets();
  };
}
