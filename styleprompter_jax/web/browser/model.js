// The exported programs, in ONNX Runtime as WebAssembly.

// The files have the suffix .js, since some servers do not know .mjs.
import * as runtime from "./runtime/ort.wasm.min.js";

const at = (file) => new URL(file, import.meta.url).href;
runtime.env.wasm.wasmPaths = {
  mjs: at("./runtime/ort-wasm-simd-threaded.js"),
  wasm: at("./runtime/ort-wasm-simd-threaded.wasm"),
};
const sessions = new Map();
let manifest = null;
let last = Promise.resolve();

export async function programs() {
  manifest ??= fetch("manifest.json", { cache: "no-cache" }).then((answer) => {
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
  const { programs: known, files } = await programs();
  const program = known[name];
  if (!sessions.has(name)) {
    // The sum makes a cache fetch the file of this manifest, not of an earlier one.
    const address = at(`${program.file}?sha256=${files[program.file].sha256}`);
    const made = runtime.InferenceSession.create(address);
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
