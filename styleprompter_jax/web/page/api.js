// The HTTP interface of the studio; the page uses nothing else.

const KEY = "styleprompter-client";
// The token that the server printed comes behind the # of its address, which browsers
// send to nobody.
const token = new URLSearchParams(location.hash.slice(1)).get("token") || "";
let opening = null;

export class Refused extends Error {
  constructor(status, message, unknown) {
    super(message);
    this.status = status;
    this.unknown = unknown; // the id that the server does not know
  }
}

async function ask(method, path, key, body, signal) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const isData = body instanceof Blob;
  if (body !== undefined) {
    headers["Content-Type"] = isData ? "application/octet-stream" : "application/json";
  }
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      signal,
      body: isData || body === undefined ? body : JSON.stringify(body),
    });
  } catch {
    throw new Refused(0, "The server does not answer. Is it still running?");
  }
  if (response.ok) return response;
  let why = `The server answers ${response.status}.`;
  let unknown;
  try {
    const said = await response.json();
    why = said.error || why;
    unknown = said.unknown;
  } catch {
    // It has not said why.
  }
  throw new Refused(response.status, why, unknown);
}

async function client(renew = false) {
  if (renew) {
    sessionStorage.removeItem(KEY);
    opening = null;
  }
  opening ??= (async () => {
    const known = sessionStorage.getItem(KEY);
    if (known) return known;
    const answer = await ask("POST", "/api/clients", token);
    const { client: key } = await received(answer.json());
    sessionStorage.setItem(KEY, key);
    return key;
  })();
  try {
    return await opening;
  } catch (error) {
    opening = null;
    throw error;
  }
}

async function call(method, path, body, signal) {
  const key = await client();
  try {
    return await ask(method, path, key, body, signal);
  } catch (error) {
    if (error.status !== 401) throw error;
    if (sessionStorage.getItem(KEY) === key) await client(true);
    return ask(method, path, await client(), body, signal);
  }
}

// Waits for what the server sends. If that breaks off, browsers say only "network error".
async function received(coming) {
  try {
    return await coming;
  } catch {
    throw new Refused(0, "The server no longer answers.");
  }
}

const json = async (...asked) => received((await call(...asked)).json());
const blob = async (...asked) => received((await call(...asked)).blob());

// What the page can do with a server, and where images go.
const SERVED = {
  can: { paste: true, latents: true, script: true },
  place: "Images go to the server of this page and nowhere else. It keeps them in memory, "
    + "and forgets them when you have been away for an hour.",
};

export async function facts() {
  const known = await json("GET", "/api/model");
  return { ...SERVED, ...known, can: { ...SERVED.can, fit: known.fits } };
}
export const example = (number) => blob("GET", `/api/examples/${number}`);
export const upload = (data) => json("POST", "/api/pictures", data);
export const forget = () => {}; // the server forgets by itself
export const picture = (id) => blob("GET", `/api/pictures/${id}`);
export const align = (body) => json("POST", "/api/align", body);
export const encode = (body) => json("POST", "/api/encode", body);
export const sample = (body) => json("POST", "/api/sample", body);
export const edit = (recipe) => json("POST", "/api/edit", recipe);
export const decode = (body) => blob("POST", "/api/decode", body);
export const unalign = (body) => blob("POST", "/api/unalign", body);
export const latents = (id) => blob("GET", `/api/latents/${id}`);
export const script = (recipe) => json("POST", "/api/script", recipe);
export const start = (kind, body) => json("POST", `/api/jobs/${kind}`, body);
export const cancel = (job) => json("DELETE", `/api/jobs/${job}`);
export const file = (job) => blob("GET", `/api/jobs/${job}/file`);

// Reports of a job, one after the other, to its end.
export async function* events(job, signal) {
  const response = await call("GET", `/api/jobs/${job}/events`, undefined, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await received(reader.read());
    if (done) return;
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) yield JSON.parse(part.replace(/^data: /, ""));
  }
}
