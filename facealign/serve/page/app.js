// @ts-check
// The page: photos from a file, a drop, the clipboard or the camera go to an aligner; what it finds is drawn.

import { countText, faceCard, limitsText, passedOver } from "./cards.js";
import { Problem, complain, say } from "./messages.js";
import { draw } from "./overlay.js";

/**
 * @typedef {import("./overlay.js").Photo} Photo
 * @typedef {{ max_bytes?: number, max_pixels: number, max_side?: number }} Limits of a photo; side: in pixels
 * @typedef {{ blob: Blob, name: string }} Named
 * @typedef {Named & { found: Photo, chosen: number }} Shown a name is empty: no photo; chosen: index of a face
 *
 * What finds faces: a server, or this browser. Each promise fails with a Problem, if it does.
 * @typedef {object} Aligner
 * @property {string} opening what to say until it is open
 * @property {string} cameraNote where the camera's pictures go
 * @property {() => Promise<Limits>} open
 * @property {(blob: Blob, name: string, signal: AbortSignal) => Promise<Photo>} photo
 * @property {(video: HTMLVideoElement, first: boolean) => Promise<Photo>} frame of the camera
 * @property {(format: string, shown: Shown) => Promise<string>} text of a file: "json", "csv" or "pts"
 */

/** @type {(id: string) => any} */
const by = (id) => document.getElementById(id);
/** @type {(selector: string) => NodeListOf<HTMLInputElement>} */
const all = (selector) => document.querySelectorAll(selector);
const [stage, photo, video, overlay] = ["stage", "photo", "video", "overlay"].map(by);
/**
 * asked: a photo that is looked at, or could not be while none is shown; request: what goes on.
 * @type {Shown & { asked: Named | null, stream: MediaStream | null, request: AbortController | null }}
 */
const state = {
  blob: new Blob(),
  name: "",
  found: { file: "", width: 0, height: 0, faces: [] },
  chosen: 0,
  asked: null,
  stream: null,
  request: null,
};
/** @type {Aligner} */
let aligner;
/** @type {Limits | null} */
let limits = null;

// --- what is shown --------------------------------------------------------------------------------------------

/** @param {Photo} found */
function show(found) {
  state.found = found;
  state.chosen = 0;
  by("result").hidden = false;
  by("count").textContent = countText(found.faces.length);
  by("faces").replaceChildren(...found.faces.map((face, index) => faceCard(face, index, choose)));
  choose(0);
}

/** @param {number} index */
function choose(index) {
  state.chosen = index;
  for (const [at, button] of by("faces").querySelectorAll(".face").entries()) {
    button.setAttribute("aria-pressed", String(at === index));
  }
  const several = state.found.faces.length > 1;
  by("pts-note").textContent = several ? `A .pts file holds one face: face ${index + 1}, the one chosen.` : "";
  redraw();
}

const MOST_ZOOM = 12;

/**
 * The scale, and the point of the photo (0 to 1) that comes to the upper left.
 * @param {Photo} photo
 */
function zoomOf({ width, height, faces }) {
  const face = faces[state.chosen];
  if (!by("zoom").checked || !face) return [1, 0, 0];
  const [x1, y1, x2, y2] = face.box;
  const side = 1.7 * Math.max((x2 - x1) / width, (y2 - y1) / height);
  const zoom = Math.min(MOST_ZOOM, Math.max(1, 1 / side));
  const start = (/** @type {number} */ middle) => Math.min(1 - 1 / zoom, Math.max(0, middle - 0.5 / zoom));
  return [zoom, start((x1 + x2) / 2 / width), start((y1 + y2) / 2 / height)];
}

function redraw() {
  if (!state.found.width) return;
  const { width, height } = state.found;
  stage.style.setProperty("--ratio", width / height);
  const [zoom, left, top] = zoomOf(state.found);
  stage.style.setProperty("--zoom", zoom);
  by("zoomed").style.transform = `scale(${zoom}) translate(${-100 * left}%, ${-100 * top}%)`;
  draw(overlay, state.found, (zoom * (stage.clientWidth || width)) / width, state.chosen, choose);
}

/** @param {boolean} ready */
function showDownloads(ready) {
  for (const button of all("[data-format]")) {
    button.disabled = !ready || (button.dataset.format === "pts" && !state.found.faces.length);
  }
}

/**
 * @param {string} url
 * @returns {Promise<boolean>} whether this browser can show it
 */
function canShow(url) {
  const image = new Image();
  image.src = url;
  return image.decode().then(
    () => true,
    () => false,
  );
}

/** What is asked for from now on; what was asked for before is wanted no more. */
function newRequest() {
  state.request?.abort();
  state.request = new AbortController();
  return state.request;
}

// --- a photo --------------------------------------------------------------------------------------------------

/**
 * @param {Blob} blob
 * @param {string} name
 * @param {number} [others] number of files that came with it
 */
async function open(blob, name, others = 0) {
  stopCamera();
  const { signal } = newRequest();
  state.asked = { blob, name };
  complain("");
  say(`Looking for faces in ${name} …`);
  const url = URL.createObjectURL(blob);
  try {
    checkSize(blob);
    const found = await aligner.photo(blob, name, signal);
    const readable = await canShow(url);
    signal.throwIfAborted();
    Object.assign(state, { blob, name, asked: null });
    URL.revokeObjectURL(photo.src);
    photo.src = url;
    photo.hidden = !readable;
    video.hidden = true;
    show(found);
    photo.alt = `${name}: ${countText(found.faces.length)}`;
    showDownloads(true);
    say(`${photo.alt}.${readable ? "" : " This browser cannot show the photo."}${passedOver(others)}`);
  } catch (error) {
    URL.revokeObjectURL(url);
    if (signal.aborted) return;
    complain(`${name}: ${error.message}`, `${error.remedy ?? ""}${passedOver(others)}`);
    by("result").hidden = !state.name;
    if (!state.name) return;
    state.asked = null;
    say(`Still shown, as it was: ${photo.alt}.`);
  }
}

/**
 * Fails when a photo has more bytes than the aligner takes.
 * @param {Blob} blob
 */
function checkSize(blob) {
  if (!limits?.max_bytes || blob.size <= limits.max_bytes) return;
  const size = (/** @type {number} */ bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
  throw new Problem(`It has ${size(blob.size)}, more than the limit of ${size(limits.max_bytes)}.`, "Scale it down.");
}

/** @param {FileList} files */
function openFirst(files) {
  const file = [...files].find((one) => one.type.startsWith("image/")) ?? files[0];
  if (file) open(file, file.name || "photo", files.length - 1);
}

/** @param {FileList} files */
function dropped(files) {
  if (files.length > 0) openFirst(files);
  else complain("What was dropped is no file.", "Save the photo, and drop or choose that.");
}

/** @param {string} format */
async function download(format) {
  /** @type {Record<string, string>} */
  const forms = { json: "application/json", csv: "text/csv", pts: "text/plain" };
  try {
    const text = await aligner.text(format, state);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: forms[format] }));
    const suffix = format === "pts" && state.chosen > 0 ? `_face${state.chosen + 1}` : "";
    link.download = `${state.name.replace(/\.[^.]*$/, "")}${suffix}.${format}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  } catch (error) {
    complain(`${state.name}: ${error.message}`, error.remedy);
  }
}

// --- the camera -----------------------------------------------------------------------------------------------

async function startCamera() {
  complain("");
  if (!navigator.mediaDevices) {
    complain("The browser gives the camera to https and localhost addresses only.", "Choose a photo instead.");
    return;
  }
  state.request?.abort();
  try {
    state.stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } }, audio: false });
  } catch (error) {
    complain(`The camera cannot be used (${error.message}).`, "Allow it for this page, or choose a photo.");
    return;
  }
  video.srcObject = state.stream;
  await video.play();
  Object.assign(state, { blob: new Blob(), name: "", asked: null });
  photo.hidden = true;
  video.hidden = by("camera-buttons").hidden = false;
  show({ file: "", width: video.videoWidth, height: video.videoHeight, faces: [] });
  showDownloads(false);
  say(aligner.cameraNote);
  by("take").focus();
  follow(state.stream);
}

/**
 * The camera's picture as a JPEG file.
 * @returns {Promise<Blob>}
 */
export function still() {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d")?.drawImage(video, 0, 0);
  return new Promise((resolve) => {
    canvas.toBlob((blob) => resolve(blob ?? new Blob()), "image/jpeg", 0.95);
  });
}

/**
 * One picture after the other, for as long as this stream runs.
 * @param {MediaStream} stream
 */
async function follow(stream) {
  for (let first = true; state.stream === stream; first = false) {
    try {
      const found = await aligner.frame(video, first);
      if (state.stream === stream) show(found);
      complain("");
      await new Promise(requestAnimationFrame);
    } catch (error) {
      if (state.stream !== stream) return;
      complain(error.message, error.remedy);
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}

async function take() {
  const blob = await still();
  open(blob, "camera.jpg");
}

function stopCamera() {
  state.stream?.getTracks().forEach((track) => track.stop());
  state.stream = null;
  by("camera-buttons").hidden = true;
}

// --- start ----------------------------------------------------------------------------------------------------

by("file").addEventListener("change", (/** @type {any} */ event) => {
  openFirst(event.target.files);
  event.target.value = ""; // the same file again is a change too
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (/** @type {any} */ event) => {
    event.preventDefault();
    document.body.classList.toggle("over", kind === "dragover");
    if (kind === "drop") dropped(event.dataTransfer.files);
  });
}
document.addEventListener("paste", (event) => {
  if (event.clipboardData) openFirst(event.clipboardData.files);
});
by("camera").addEventListener("click", startCamera);
by("take").addEventListener("click", take);
by("stop").addEventListener("click", () => {
  stopCamera();
  by("result").hidden = true;
  say("");
  by("camera").focus();
});
for (const button of all("[data-format]")) {
  button.addEventListener("click", () => download(button.dataset.format ?? ""));
}
for (const box of all("[data-layer]")) {
  const update = () => overlay.classList.toggle(box.dataset.layer, box.checked);
  box.addEventListener("change", update);
  update();
}
by("zoom").addEventListener("change", redraw);
new ResizeObserver(redraw).observe(stage);

/** Open the aligner. */
async function begin() {
  const { signal } = newRequest();
  complain("");
  say(aligner.opening);
  try {
    limits = await aligner.open();
    by("limits").textContent = limitsText(limits);
    if (!signal.aborted) say("");
  } catch (error) {
    if (!signal.aborted) complain(error.message, error.remedy);
  }
}

/**
 * Start the page. `again`: its aligner works otherwise from now on.
 * @param {Aligner} one
 */
export function start(one) {
  aligner = one;
  begin();
  return {
    again() {
      if (state.stream) return;
      const { blob, name } = state.asked ?? state;
      if (name) open(blob, name);
      else begin();
    },
  };
}
