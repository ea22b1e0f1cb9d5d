// Small things that every part of the page needs.

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

// An element. Texts become text, never markup.
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// Whether keys write into an element, so that the browser's own undo counts there.
export const isText = (element) => Boolean(element.isContentEditable || element.matches?.(
  "textarea, input:not([type=range], [type=radio], [type=checkbox])",
));

// The dialog that is open: until it closes, keys change nothing behind it.
export const dialog = () => $("dialog[open]");

export function say(text) {
  $("#status").textContent = text;
}

// A message that stays until it is closed or some time has passed.
export function complain(error) {
  const text = error?.message || String(error);
  const notes = $("#notes");
  for (const old of $$(".note", notes)) if (old.dataset.text === text) old.remove();
  const note = h("div", { className: "note" }, h("p", {}, text));
  note.dataset.text = text;
  note.append(
    h("button", { className: "plain", onclick: () => note.remove() }, "Close"),
  );
  notes.append(note);
  // Everything outside of an open dialog is behind it, and cannot be clicked.
  const around = dialog() ?? document.body;
  if (notes.parentNode !== around) {
    around.append(notes);
    around.addEventListener("close", () => document.body.append(notes), { once: true });
  }
  setTimeout(() => note.remove(), 15000);
}

export function download(data, name) {
  const url = URL.createObjectURL(data);
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

// "hair_color_red" for people.
export const words = (name) => {
  const text = name.replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
};

// The ends and the step of a slider over a range and 0. The step divides the ends, so that
// the slider can stand at 0.
export function marks(low, high) {
  const [start, end] = [Math.min(low, 0), Math.max(high, 0)];
  const fine = Math.floor(Math.log10(end - start)) - 2;
  const step = Number.isFinite(fine) ? 10 ** Math.min(-2, fine) : 0.01;
  return {
    min: times(Math.floor(start / step + 1e-9), step),
    max: times(Math.ceil(end / step - 1e-9), step),
    step,
  };
}

// A number of steps, without the digits of rounding.
export const times = (count, step) => Number((count * step).toPrecision(12));

// A slider with its name and value. `changed` is told while it moves, `settled` after.
export function slider({ label, min, max, step, value, zero, changed, settled, reset }) {
  const output = h("output", {});
  const input = h("input", {
    type: "range", min, max, step, value, "aria-label": label,
    oninput: () => { paint(); changed(Number(input.value)); },
    onchange: () => settled?.(Number(input.value)),
    ondblclick: () => back(),
  });
  const button = h("button", {
    className: "back", title: `Reset ${label}`, "aria-label": `Reset ${label}`,
    onclick: () => { back(); input.focus(); },
  }, "×");
  function back() {
    input.value = reset;
    paint();
    changed(reset);
    settled?.(reset);
  }
  function paint() {
    const share = (number) => (100 * (number - min)) / (max - min);
    const [from, to] = [share(zero), share(Number(input.value))].sort((a, b) => a - b);
    input.style.setProperty("--from", `${from}%`);
    input.style.setProperty("--to", `${to}%`);
    output.textContent = Number(input.value).toFixed(Math.max(2, Math.round(-Math.log10(step))));
    row.classList.toggle("moved", Math.abs(Number(input.value) - reset) > step / 2);
  }
  const row = h("div", { className: "slider" },
    h("span", { className: "name", "aria-hidden": "true" }, label), output, button, input);
  paint();
  return {
    row, input,
    set(number) { input.value = number; paint(); },
  };
}
