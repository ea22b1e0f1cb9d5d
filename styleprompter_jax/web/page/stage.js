// The image: before, after, and the edge between them; what is dropped and pasted.

import { $, $$, h } from "./dom.js";

let aligns = true;

export const setUp = (facts) => { aligns = facts.aligns; };

export function build(opened) {
  for (const radio of $$("[name=view]")) {
    radio.onchange = () => view(radio.value);
  }
  const compare = $("#compare");
  compare.oninput = paint;
  // "c" shows the original for as long as it is held.
  addEventListener("keydown", (event) => {
    if (event.key === "c" && !isTyping(event) && !event.repeat) $("#frame").classList.add("held");
  });
  addEventListener("keyup", (event) => {
    if (event.key === "c") $("#frame").classList.remove("held");
  });
  dropping(opened);
  paint();
}

export const isTyping = (event) => (
  event.ctrlKey || event.metaKey || event.altKey
  || event.target.closest?.("input:not([type=range], [type=radio], [type=checkbox]), select, dialog")
);

function dropping(opened) {
  const pictures = (list) => [...list].filter((file) => file.type.startsWith("image/")
    || /\.(png|jpe?g|webp|bmp|tiff?|gif)$/i.test(file.name));
  let depth = 0;
  const cover = (shown) => $("#drop").classList.toggle("shown", shown);
  addEventListener("dragenter", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    depth += 1;
    cover(true);
  });
  addEventListener("dragleave", () => {
    depth = Math.max(0, depth - 1);
    cover(depth > 0);
  });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    cover(false);
    opened(pictures(event.dataTransfer?.files || []));
  });
  addEventListener("paste", (event) => {
    const found = pictures(event.clipboardData?.files || []);
    if (found.length) {
      event.preventDefault();
      opened(found);
    }
  });
  $("#files").onchange = (event) => {
    opened([...event.target.files]);
    event.target.value = "";
  };
  for (const button of $$("#choose, #choose-more")) {
    button.onclick = () => $("#files").click();
  }
}

export function view(value) {
  $("#frame").dataset.view = value;
  for (const radio of $$("[name=view]")) radio.checked = radio.value === value;
  paint();
}

function paint() {
  $("#frame").style.setProperty("--edge", `${$("#compare").value}%`);
}

export function show(item) {
  $("#welcome").hidden = Boolean(item);
  $("#viewer").hidden = !item;
  if (!item) return;
  const { before, after } = item;
  const isPhoto = item.source.kind === "photo";
  $("#align").hidden = !isPhoto || !aligns;
  $(".segments").disabled = !isPhoto;
  if (!isPhoto) view("result");
  if (before) $("#before").src = before;
  $("#before").hidden = !before;
  if (after || before) $("#after").src = after || before;
  $("#frame").classList.toggle("empty", !(after || before));
}

export function working(is) {
  $("#busy").hidden = !is;
}

// The small image of an item, or an element that becomes it.
export function thumb({ after, before }, image = h("img", { alt: "" })) {
  image.src = after || before || "icon.svg";
  return image;
}
