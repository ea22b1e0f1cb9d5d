// The panels beside the sliders: mixing, the refiner, fitted codes.

import * as api from "./api.js";
import * as store from "./store.js";
import { $, complain, h, marks, say, slider, words } from "./dom.js";
import { thumb } from "./stage.js";

let facts = null;
let options = new Map();
let mixer = null;

export function build(known) {
  facts = known;
  tabs();
  buildMore();
}

function tabs() {
  const all = [...document.querySelectorAll("[role=tab]")];
  const open = (tab) => {
    for (const one of all) {
      const chosen = one === tab;
      one.setAttribute("aria-selected", chosen);
      one.tabIndex = chosen ? 0 : -1;
      $(`#${one.getAttribute("aria-controls")}`).hidden = !chosen;
    }
  };
  all.forEach((tab) => {
    tab.onclick = () => open(tab);
    tab.onkeydown = (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const shown = all.filter((one) => !one.hidden);
      const other = shown[(shown.indexOf(tab) + step + shown.length) % shown.length];
      open(other);
      other.focus();
    };
  });
}

export function show(item) {
  showMix(item);
  showMore(item);
}

// Mixing.

function changeMix(changes) {
  const { mix } = store.current.look;
  store.change(store.current, { mix: { ...mix, ...changes } });
}

function showMix(item) {
  if (!item) return;
  const others = store.items.filter((other) => other !== item);
  const key = JSON.stringify([item, ...others].map((one) => one.number));
  if (mixer?.key !== key) {
    mixer = { key, ...(others.length ? mixing(item, others) : alone()) };
    $("#mix").replaceChildren(...mixer.nodes);
  }
  mixer.set(item.look.mix);
}

const alone = () => ({
  nodes: [h("p", {}, "Add a second image to replace codes of this image with its codes.")],
  set() {},
});

// The panel for an item and the others. `set` shows a mix in the same elements, which so
// keep the focus.
function mixing(item, others) {
  const n = facts.codes;
  const all = [...Array(n).keys()];
  const choose = (other) => {
    const { mix } = item.look;
    store.change(item, {
      mix: other && { layers: all.slice(0, Math.ceil(n / 2)), share: 1, ...mix, item: other },
    });
    store.settle(item);
  };
  const radio = (other, label, content) => h("label", { className: "tile" },
    h("input", {
      type: "radio", name: "other", "aria-label": label, onchange: () => choose(other),
    }), content);
  const radios = [
    radio(null, "None", h("span", {}, "None")),
    ...others.map((other) => radio(other, other.title, thumb(other))),
  ];
  const set = (layers) => { changeMix({ layers }); store.settle(item); };
  const third = Math.ceil(n / 3);
  const quick = (label, layers) => h("button", {
    className: "plain", onclick: () => set(layers),
  }, label);
  const share = slider({
    label: "Share", min: 0, max: 1, step: 0.01, value: 1, zero: 0, reset: 1,
    changed: (value) => changeMix({ share: value }),
    settled: () => store.settle(item),
  });
  const boxes = all.map((k) => h("input", {
    type: "checkbox", className: "layer", "aria-label": `Code ${k}`,
    onchange: (event) => {
      const { layers } = store.current.look.mix;
      set(event.target.checked
        ? [...layers, k].sort((a, b) => a - b)
        : layers.filter((one) => one !== k));
    },
  }));
  const chosen = h("div", {},
    h("h3", {}, "Codes"),
    h("p", { className: "small" }, "The first ones hold shape and pose, the last ones ",
      "colours."),
    h("div", { className: "row" }, quick("Coarse", all.slice(0, third)),
      quick("Middle", all.slice(third, 2 * third)), quick("Fine", all.slice(2 * third)),
      quick("All", all)),
    h("div", { className: "chips", role: "group", "aria-label": "Codes" },
      ...boxes.map((box, k) => h("label", {}, box, h("span", {}, String(k))))),
    share.row);
  return {
    nodes: [
      h("p", {}, "Replace codes of this image with codes of another image."),
      h("div", { className: "thumbs", role: "radiogroup", "aria-label": "Other image" },
        ...radios),
      chosen,
    ],
    set(mix) {
      [null, ...others].forEach((other, k) => {
        $("input", radios[k]).checked = (mix?.item ?? null) === other;
        if (other) thumb(other, $("img", radios[k]));
      });
      chosen.hidden = !mix;
      if (!mix) return;
      boxes.forEach((box, k) => { box.checked = mix.layers.includes(k); });
      share.set(mix.share);
    },
  };
}

// The refiner, and fitted codes.

function buildMore() {
  const nodes = [];
  options = new Map();
  if (facts.refiner) {
    const { title } = facts.refiner;
    nodes.push(
      h("h3", {}, title),
      h("p", { className: "small" }, "Brings back what the codes cannot hold."),
      h("label", { className: "switch" },
        h("input", { id: "refine", type: "checkbox", role: "switch", onchange(event) {
          store.change(store.current, { refine: event.target.checked ? null : false });
          store.settle(store.current);
        } }), ` ${title} on`),
    );
    for (const [name, defaults] of Object.entries(facts.refiner.options)) {
      defaults.forEach((value, k) => {
        const label = words(name) + (defaults.length > 1 ? ` ${k + 1}` : "");
        const made = slider({
          label, ...reach(name, k), value, zero: 0, reset: value,
          changed: (number) => {
            const own = [...(store.current.look.options[name] ?? wanted(name))];
            own[k] = number;
            store.change(store.current, {
              options: { ...store.current.look.options, [name]: own },
            });
          },
          settled: () => store.settle(store.current),
        });
        options.set(`${name} ${k}`, { made, name, k });
        nodes.push(made.row);
      });
    }
    nodes.push(h("p", {}, h("button", {
      id: "own-options", className: "plain", onclick() {
        store.change(store.current, { options: {} });
        store.settle(store.current);
      },
    }, "As the directions ask")));
  }
  if (facts.encodes && facts.can.fit) {
    nodes.push(
      h("div", { id: "fitting" },
        h("h3", {}, "Closer to the image"),
        h("p", { className: "small" }, "Gradient descent fits the codes, or tunes the ",
          "generator while the codes stay. Many steps on the codes make edits worse."),
        h("form", onEnter(() => fit("fit", "Fitting")),
          h("label", { className: "field" }, "Steps ",
            h("input", { id: "steps", type: "number", min: 1, max: 1000, value: 50 })),
          h("button", { id: "fit" }, "Fit codes"),
          h("button", { id: "tune", type: "button", onclick: () => fit("tune", "Tuning") },
            "Tune the generator")),
        h("div", { id: "fit-progress" })),
    );
  }
  if (facts.encodes && facts.passes) {
    nodes.push(
      h("div", { id: "passing" },
        h("h3", {}, "Passes of the encoder"),
        h("p", { className: "small" }, "Each pass corrects the codes of the pass before."),
        h("form", onEnter(encode),
          h("label", { className: "field" }, "Passes ",
            h("input", { id: "passes", type: "number", min: 1, max: 100, value: facts.passes })),
          h("button", { id: "encode" }, "Encode again"))),
    );
  }
  $("#more").replaceChildren(...nodes);
  if (!nodes.length) $("#tab-more").hidden = true;
}

// A row whose first button also works by Enter in its field. Errors are notes, not bubbles.
const onEnter = (work) => ({
  className: "row",
  noValidate: true,
  onsubmit(event) {
    event.preventDefault();
    work();
  },
});

// The slider of an option reaches twice as far as its default and what directions ask for.
function reach(name, k) {
  const all = [facts.refiner, ...facts.directions].flatMap((one) => one.options[name]?.[k] ?? []);
  const far = 2 * Math.max(...all.map(Math.abs)) || 2;
  return marks(Math.min(...all) < 0 ? -far : 0, far);
}

// What the directions that are moved ask of an option: the least of it.
function wanted(name) {
  const own = facts.refiner.options[name];
  const moved = facts.directions.filter((one) => store.current.look.edits[one.name]);
  if (!moved.length) return own;
  return own.map((value, k) => (
    Math.min(...moved.map((one) => one.options[name]?.[k] ?? value))
  ));
}

function showMore(item) {
  if (!item) return;
  const isNobody = item.source.kind === "sample";
  for (const one of document.querySelectorAll("#fitting, #passing")) one.hidden = isNobody;
  if (!facts.refiner) return;
  const on = item.look.refine !== false && !isNobody;
  $("#refine").checked = on;
  $("#refine").disabled = isNobody;
  for (const { made, name, k } of options.values()) {
    made.set((item.look.options[name] ?? wanted(name))[k]);
    made.input.disabled = !on;
  }
  $("#own-options").disabled = !on || !Object.keys(item.look.options).length;
}

async function encode() {
  $("#encode").disabled = true;
  try {
    const passes = Number($("#passes").value);
    if (!Number.isInteger(passes) || passes < 1 || passes > 100) {
      throw new Error("The number of passes is a whole number from 1 to 100.");
    }
    await store.encodeAnew(store.current, { passes });
  } catch (error) {
    complain(error);
  } finally {
    $("#encode").disabled = false;
  }
}

async function fit(kind, title) {
  const item = store.current;
  const { source } = item;
  const steps = Number($("#steps").value);
  $("#fit").disabled = $("#tune").disabled = true;
  try {
    const { job } = await store.withRecipe(
      item, (recipe) => api.start(kind, { recipe, steps }),
    );
    const report = await follow(job, $("#fit-progress"), title);
    if (report.state === "done" && item.source !== source) {
      complain(`${item.title} was encoded anew meanwhile: fit again.`);
    } else if (report.state === "done") {
      store.change(item, { latents: report.latents });
      store.settle(item);
      say(`${title} is done.`);
    }
  } catch (error) {
    complain(error);
  } finally {
    $("#fit").disabled = $("#tune").disabled = false;
  }
}

// Shows the progress of a job until it is over, with a way to cancel it.
export async function follow(job, place, title) {
  const bar = h("progress", { max: 1, value: 0, "aria-label": title });
  const text = h("span", {}, "waiting");
  const leaving = new AbortController();
  // The job ends after its step; nobody waits for that.
  const stop = () => {
    leaving.abort();
    api.cancel(job).catch(complain);
  };
  place.replaceChildren(h("div", { className: "row" }, bar, text,
    h("button", { className: "plain", type: "button", onclick: stop }, "Cancel")));
  place.hidden = false;
  place.scrollIntoView({ block: "nearest" });
  let report = { state: "waiting" };
  try {
    for await (const told of api.events(job, leaving.signal)) {
      report = told;
      bar.max = told.total;
      bar.value = told.done;
      text.textContent = told.state === "running" ? `${told.done} of ${told.total}` : told.state;
    }
  } catch (error) {
    if (!leaving.signal.aborted) throw error;
    report = { state: "cancelled" };
  } finally {
    place.replaceChildren();
    place.hidden = true;
  }
  if (report.state === "failed") throw new Error(report.error);
  // A server that is stopped ends its answers early.
  if (["waiting", "running"].includes(report.state)) {
    throw new Error("The server no longer answers.");
  }
  if (report.state === "cancelled") say(`${title} was cancelled.`);
  return report;
}
