// The exported programs, in ONNX Runtime: on the GPU where the browser lends it (WebGPU),
// otherwise as WebAssembly.

// A GPU that works: the runtime itself would wait for ever for another. One in software is
// slower than WebAssembly.
const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
const real = (adapter?.info?.isFallbackAdapter ?? adapter?.isFallbackAdapter) ? null : adapter;
const device = await real?.requestDevice().catch(() => null);
device?.destroy();
// The files have the suffix .js, since some servers do not know .mjs.
const [script, binary] = device
  ? ["ort.webgpu.min", "ort-wasm-simd-threaded.asyncify"]
  : ["ort.wasm.min", "ort-wasm-simd-threaded"];
const runtime = await import(`./runtime/${script}.js`);

const at = (file) => new URL(file, import.meta.url).href;
runtime.env.wasm.wasmPaths = {
  mjs: at(`./runtime/${binary}.js`),
  wasm: at(`./runtime/${binary}.wasm`),
};
const places = device ? ["webgpu", "wasm"] : ["wasm"];
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
  const given = Object.fromEntries(Object.entries(program.inputs).map(([key, { shape }]) => (
    [key, new runtime.Tensor("float32", inputs[key], [1, ...shape.slice(1)])]
  )));
  // The sum makes a cache fetch the file of this manifest, not of an earlier one.
  const address = at(`${program.file}?sha256=${files[program.file].sha256}`);
  const made = await computed(name, address, given);
  return Object.fromEntries(Object.entries(made).map(([key, tensor]) => [key, tensor.data]));
}

// A GPU that fails leaves all programs to the processor.
async function computed(name, address, given) {
  const bytes = sessions.has(name) ? null : await fetched(address);
  try {
    if (bytes) {
      const options = { executionProviders: [places[0]] };
      sessions.set(name, await runtime.InferenceSession.create(bytes, options));
    }
    return await sessions.get(name).run(given);
  } catch (error) {
    if (places.length === 1) throw error;
    places.shift();
    for (const session of sessions.values()) await session.release().catch(() => {});
    sessions.clear();
    return computed(name, address, given);
  }
}

async function fetched(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error("The files of the model are missing.");
  return answer.arrayBuffer();
}
