// @ts-check
// The page of `facealign serve`: photos go to POST /align.

import { start, still } from "./app.js";
import { Problem } from "./messages.js";

/**
 * The server's answer to a photo.
 * @param {Blob} blob
 * @param {string} name
 * @param {string} [query]
 * @param {AbortSignal} [signal]
 */
async function align(blob, name, query = "", signal = undefined) {
  const form = new FormData();
  form.append("photo", blob, name);
  let response;
  try {
    response = await fetch(`align${query}`, { method: "POST", body: form, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server does not answer.", "Is it still running?");
  }
  const text = await response.text();
  if (response.ok) return text;
  let refusal = { error: `The server answered ${response.status}.`, remedy: "" };
  try {
    refusal = JSON.parse(text);
  } catch {
    // Not ours: a proxy's perhaps.
  }
  throw new Problem(refusal.error, refusal.remedy);
}

for (const place of document.querySelectorAll(".origin")) {
  place.textContent = new URL(".", location.href).href.replace(/\/$/, "");
}
start({
  opening: "",
  cameraNote: "The camera is on: each picture goes to the server while you see it.",
  async open() {
    try {
      return (await (await fetch("health")).json()).limits;
    } catch {
      throw new Problem("The server does not answer.", "Is it still running?");
    }
  },
  async photo(blob, name, signal) {
    return JSON.parse(await align(blob, name, "", signal));
  },
  async frame() {
    return JSON.parse(await align(await still(), "camera.jpg", "?turns=never"));
  },
  async text(format, { blob, name, found, chosen }) {
    if (format === "json") return JSON.stringify(found);
    return align(blob, name, `?format=${format}&face=${chosen}`);
  },
});
