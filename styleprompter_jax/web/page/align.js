// The dialog in which five points are moved to a face.

import * as api from "./api.js";
import { quad } from "./quad.js";
import * as store from "./store.js";
import { $, $$, h } from "./dom.js";

const NAMES = ["Left eye", "Right eye", "Nose", "Left corner of the mouth",
  "Right corner of the mouth"];
// Where they are in a portrait, in shares of its sides.
const USUAL = [[0.39, 0.42], [0.61, 0.42], [0.5, 0.55], [0.42, 0.66], [0.58, 0.66]];
let points = [];
let buttons = [];
let size = { width: 1, height: 1 };
let found = null;
let finish = null;

export function build() {
  const board = $("#board");
  buttons = NAMES.map((name, k) => h("button", {
    type: "button", className: "point", title: name,
    onpointerdown: (event) => grab(event, k),
    onkeydown: (event) => nudge(event, k),
  }));
  board.append(...buttons);
  $("#find").onclick = () => finish(found);
  $("#middle").onclick = () => finish(null);
  $("#cut").onclick = () => finish(points);
  new ResizeObserver(paint).observe(board);
}

// Lets a person choose the points of an item.
export async function open(item) {
  const shown = await store.withPhoto(item, ({ picture }) => api.picture(picture));
  size = item.photo;
  found = item.photo.points;
  const known = item.source.points ?? found;
  points = (known ?? usual()).map((point) => [...point]);
  const url = URL.createObjectURL(shown);
  $("#photo").src = url;
  $("#photo").style.width = `min(100%, ${(52 * size.width) / size.height}vh)`;
  $("#aligning-error").textContent = "";
  $("#find").hidden = !item.photo.points;
  work(false);
  let isOpen = true;
  finish = async (chosen) => {
    work(true);
    try {
      await store.encodeAnew(item, { points: chosen }, () => isOpen);
      if (isOpen) $("#aligning").close();
    } catch (error) {
      if (!isOpen) return;
      $("#aligning-error").textContent = error.message;
      work(false);
    }
  };
  $("#aligning").onclose = () => {
    isOpen = false;
    URL.revokeObjectURL(url);
  };
  $("#aligning").showModal();
  await $("#photo").decode().catch(() => {});
  paint();
  buttons[0].focus();
}

// While the photograph is encoded, nobody can ask for it again.
function work(is) {
  for (const button of $$("#find, #middle, #cut")) button.disabled = is;
}

function usual() {
  const side = Math.min(size.width, size.height);
  const left = (size.width - side) / 2;
  const top = (size.height - side) / 2;
  return USUAL.map(([x, y]) => [left + x * side, top + y * side]);
}

function scale() {
  const { width } = $("#photo").getBoundingClientRect();
  return width / size.width;
}

function move(k, x, y) {
  points[k] = [
    Math.min(Math.max(x, 0), size.width - 1), Math.min(Math.max(y, 0), size.height - 1),
  ];
  paint();
}

function grab(event, k) {
  event.preventDefault();
  const button = buttons[k];
  button.focus();
  button.setPointerCapture(event.pointerId);
  button.onpointermove = (moved) => {
    const box = $("#photo").getBoundingClientRect();
    // The first pixel has its centre at (0, 0).
    move(
      k, (moved.clientX - box.left) / scale() - 0.5, (moved.clientY - box.top) / scale() - 0.5,
    );
  };
  button.onpointerup = button.onpointercancel = () => { button.onpointermove = null; };
}

function nudge(event, k) {
  const step = (event.shiftKey ? 10 : 1) / Math.min(scale(), 1);
  const way = {
    ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step],
  }[event.key];
  if (!way) return;
  event.preventDefault();
  move(k, points[k][0] + way[0], points[k][1] + way[1]);
}

function paint() {
  if (!points.length) return;
  const times = scale();
  buttons.forEach((button, k) => {
    const [x, y] = points[k];
    button.style.left = `${(x + 0.5) * times}px`;
    button.style.top = `${(y + 0.5) * times}px`;
    button.setAttribute("aria-label", `${NAMES[k]}, ${Math.round(x)}, ${Math.round(y)}`);
  });
  const corners = quad(points).map(([x, y]) => `${x * times},${y * times}`);
  $("#outline polygon").setAttribute("points", corners.join(" "));
}
