// @ts-check
// The page that needs no server: faces are found in this browser, by the networks that come with the page.

import { start } from "./app.js";
import { Problem } from "./messages.js";
import { csvOf, ptsOf } from "./records.js";

/** @typedef {import("./app.js").Aligner} Aligner */

/**
 * The worker of worker.js. From a script made here, as only such a one has to keep the page's policy, which allows
 * no connection to elsewhere.
 */
function started() {
  const script = `import ${JSON.stringify(new URL("./worker.js", import.meta.url).href)};`;
  const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  return new Worker(url, { type: "module" });
}

/** @type {Map<number, { resolve: (result: any) => void, reject: (error: Error) => void }>} */
const waiting = new Map();
const worker = started();
let count = 0;
/** @type {Problem | null} */
let broken = null;

worker.onmessage = ({ data: { id, result, error, remedy } }) => {
  const { resolve, reject } = waiting.get(id) ?? {};
  waiting.delete(id);
  if (error === undefined) resolve?.(result);
  else reject?.(new Problem(error, remedy));
};
worker.onerror = (event) => {
  event.preventDefault();
  broken = new Problem("This browser cannot run the page's programs.", "Load it again, or try another one.");
  for (const { reject } of waiting.values()) reject(broken);
  waiting.clear();
};

/**
 * What the worker answers to a task.
 * @param {string} task
 * @param {object} values
 * @param {Transferable[]} [transfer]
 * @returns {Promise<any>}
 */
function ask(task, values, transfer = []) {
  return new Promise((resolve, reject) => {
    if (broken) throw broken;
    count += 1;
    waiting.set(count, { resolve, reject });
    worker.postMessage({ id: count, task, options: options(), ...values }, transfer);
  });
}

/** @param {string} id */
function checkbox(id) {
  return /** @type {HTMLInputElement} */ (document.getElementById(id));
}

function options() {
  return { cascade: checkbox("cascade").checked, flip: checkbox("flip").checked };
}

/** @type {Aligner} */
const aligner = {
  opening: "Loading the networks …",
  cameraNote: "The camera is on: its pictures stay in this browser.",
  open: () => ask("open", {}),
  photo(blob, name, signal) {
    const found = ask("photo", { blob, name });
    return new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
      found.then(resolve, reject);
    });
  },
  async frame(video, first) {
    const bitmap = await createImageBitmap(video);
    return ask("frame", { bitmap, first }, [bitmap]);
  },
  async text(format, { found, chosen }) {
    if (format === "json") return JSON.stringify(found);
    return format === "csv" ? csvOf(found) : ptsOf(found.faces[chosen]);
  },
};

const page = start(aligner);
for (const id of ["cascade", "flip"]) checkbox(id).addEventListener("change", page.again);
