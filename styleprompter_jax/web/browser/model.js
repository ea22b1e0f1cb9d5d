// The exported programs, in ONNX Runtime as WebAssembly.

import * as runtime from "./runtime/ort.wasm.min.mjs";

runtime.env.wasm.wasmPaths = new URL("./runtime/", import.meta.url).href;
const sessions = new Map();
let manifest = null;
let last = Promise.resolve();

export async function programs() {
  manifest ??= fetch("manifest.json").then((answer) => {
    if (!answer.ok) throw new Error("The files of the model are missing.");
    return answer.json();
  });
  manifest.catch(() => { manifest = null; }); // the next call tries again
  return manifest;
}

// Calls a program with one image; the inputs and the results are arrays by name.
export async function run(name, inputs) {
  const result = last.then(() => call(name, inputs));
  last = result.catch(() => {}); // one at a time
  return result;
}

async function call(name, inputs) {
  const program = (await programs()).programs[name];
  if (!sessions.has(name)) {
    const made = runtime.InferenceSession.create(new URL(program.file, import.meta.url).href);
    made.catch(() => sessions.delete(name));
    sessions.set(name, made);
  }
  const session = await sessions.get(name);
  const given = Object.fromEntries(Object.entries(program.inputs).map(([key, { shape }]) => (
    [key, new runtime.Tensor("float32", inputs[key], [1, ...shape.slice(1)])]
  )));
  const made = await session.run(given);
  return Object.fromEntries(Object.entries(made).map(([key, tensor]) => [key, tensor.data]));
}
