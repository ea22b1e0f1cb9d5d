// The image: before, after, and the edge between them; what is dropped and pasted.

import { $, $$, dialog, h, isText } from "./dom.js";

let aligns = true;

export const setUp = (facts) => { aligns = facts.aligns; };

export function build(opened) {
  for (const radio of $$("[name=view]")) {
    radio.onchange = () => view(radio.value);
  }
  const compare = $("#compare");
  compare.oninput = paint;
  holding();
  dropping(opened);
  paint();
}

export const isTyping = (event) => Boolean(
  event.ctrlKey || event.metaKey || event.altKey || dialog()
  || isText(event.target) || event.target.closest?.("select"),
);

// "c" shows the original for as long as it is held.
function holding() {
  let code = null;
  const hold = (pressed) => {
    code = pressed;
    $("#frame").classList.toggle("held", code !== null);
  };
  addEventListener("keydown", (event) => {
    if (!isTyping(event) && !event.repeat && event.key.toLowerCase() === "c") hold(event.code);
  });
  // Shift and the like change the character of a key while it is held, but not its code.
  addEventListener("keyup", (event) => { if (event.code === code) hold(null); });
  // Another window hears of the key then.
  addEventListener("blur", () => hold(null));
}

const isPicture = (file) => (
  file.type.startsWith("image/") || /\.(png|jpe?g|webp|bmp|tiff?|gif)$/i.test(file.name)
);

function dropping(opened) {
  const sort = (files) => opened(
    files.filter(isPicture), files.filter((file) => !isPicture(file)),
  );
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
    sort([...event.dataTransfer?.files || []]);
  });
  addEventListener("paste", (event) => {
    const found = [...event.clipboardData?.files || []];
    // Some programs copy a text with an image of it: a field takes the text.
    const isOfField = isText(event.target) && event.clipboardData?.getData("text");
    if (found.length && !isOfField) {
      event.preventDefault();
      sort(found);
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
