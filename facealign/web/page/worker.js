// @ts-check
// What runs beside the page, so that it stays at hand: the networks in onnxruntime, and all that is computed.
//
// Started by browser.js. Each message is { id, task, ... }, and answered by { id, result } or { id, error, remedy }.

import * as ort from "../runtime/ort.wasm.js";
import { detectAndAlign, follow, isDoubtful } from "./face_aligner.js";
import { imageRecord } from "./records.js";

/**
 * @typedef {import("./face_aligner.js").Aligner} Aligner
 * @typedef {import("./face_aligner.js").Face} Face
 * @typedef {import("./image.js").Image} Image
 * @typedef {import("./mtcnn.js").Net} Net
 * @typedef {{ flip: boolean, cascade: boolean }} Options
 */

const MAX_PIXELS = 50_000_000;
const MAX_SIDE = 16_384; // of a canvas
const DETECT_EVERY = 10; // frames of a camera, between which faces are followed
const READABLE = "JPEG, PNG, WebP, GIF, BMP or AVIF";
const root = new URL("../", import.meta.url);
const RUNTIME = "runtime/ort.wasm";

ort.env.wasm.wasmPaths = { wasm: new URL(RUNTIME, root).href };
ort.env.wasm.numThreads = 1; // more need headers that not every host can send

/** An error with what to do about it. */
class Problem extends Error {
  /**
   * @param {string} message
   * @param {string} remedy
   */
  constructor(message, remedy) {
    super(message);
    this.remedy = remedy;
  }
}

const AGAIN = "Load the page again; if that does not help, its host needs the page's files anew.";

/**
 * What `read` makes of one of the page's files; `damaged`: what to say when it can make nothing of it.
 * @template T
 * @param {string} file
 * @param {(response: Response) => Promise<T>} read
 * @param {string} [damaged]
 * @returns {Promise<T>}
 */
async function fetched(file, read, damaged = "is damaged") {
  const response = await fetch(new URL(file, root)).catch(() => null);
  if (!response?.ok) throw new Problem(`The page's file ${file} does not come.`, "Load the page again.");
  try {
    return await read(response);
  } catch (error) {
    throw error instanceof Problem ? error : new Problem(`The page's file ${file} ${damaged}.`, AGAIN);
  }
}

/** Fails when this browser cannot run onnxruntime. */
function checkRuntime() {
  return once(RUNTIME, () =>
    fetched(
      RUNTIME,
      async (response) => void (await WebAssembly.compile(await response.arrayBuffer())),
      "is damaged, or this browser too old for it",
    ),
  );
}

/** @type {Map<string, Promise<unknown>>} */
const opened = new Map();

/**
 * What `open` gives for a name, the first time; after a failure it is asked again.
 * @template T
 * @param {string} name
 * @param {() => Promise<T>} open
 * @returns {Promise<T>}
 */
function once(name, open) {
  if (!opened.has(name)) {
    const opening = open();
    opening.catch(() => opened.delete(name));
    opened.set(name, opening);
  }
  return /** @type {Promise<T>} */ (opened.get(name));
}

/** @type {Promise<unknown>} */
let running = Promise.resolve();

/**
 * A network by the name of its file.
 * @param {string} name
 * @returns {Promise<Net>}
 */
function net(name) {
  return once(name, async () => {
    const session = await fetched(`models/${name}.onnx`, async (response) => {
      const data = new Uint8Array(await response.arrayBuffer());
      try {
        return await ort.InferenceSession.create(data, { executionProviders: ["wasm"] });
      } catch (error) {
        await checkRuntime(); // whose failure is the reason then
        throw error;
      }
    });
    return async (input) => {
      const feeds = { [session.inputNames[0]]: new ort.Tensor("float32", input.data, input.shape) };
      // One at a time, as onnxruntime-web demands.
      const run = running.then(() => session.run(feeds));
      running = run.catch(() => {});
      const outputs = await run.catch((error) => {
        throw new Problem(`The network models/${name}.onnx cannot be run (${error.message}).`, AGAIN);
      });
      return Object.fromEntries(
        Object.entries(outputs).map(([key, value]) => [
          key,
          { data: /** @type {Float32Array} */ (value.data), shape: value.dims },
        ]),
      );
    };
  });
}

/**
 * A landmark network, and the description of its crops.
 * @param {string} name
 * @param {boolean} flip
 * @returns {Promise<import("./landmark_network.js").LandmarkNetwork>}
 */
async function landmarkNetwork(name, flip) {
  const spec = once(`${name}.json`, () => fetched(`models/${name}.json`, (response) => response.json()));
  return { net: await net(name), spec: await spec, flip };
}

/**
 * @param {Options} options
 * @returns {Promise<Aligner>}
 */
async function aligner({ flip, cascade }) {
  const [pnet, rnet, onet] = await Promise.all(["pnet", "rnet", "onet"].map(net));
  const network = await landmarkNetwork("landmarks", flip);
  const second = cascade ? await landmarkNetwork("cascade", flip) : null;
  return { detector: { pnet, rnet, onet }, network, second };
}

const canvas = new OffscreenCanvas(1, 1);
const context = canvas.getContext("2d", { willReadFrequently: true, alpha: false });

/**
 * The pixels of a picture.
 * @param {ImageBitmap} bitmap
 * @returns {Image}
 */
function pixels(bitmap) {
  const { width, height } = bitmap;
  const limit =
    width * height > MAX_PIXELS
      ? `${MAX_PIXELS / 1e6} million`
      : Math.max(width, height) > MAX_SIDE
        ? `${MAX_SIDE} a side`
        : "";
  if (limit) {
    bitmap.close();
    throw new Problem(`The photo has ${width}x${height} pixels, more than the limit of ${limit}.`, "Scale it down.");
  }
  if (!context) throw new Problem("The browser gives no canvas.", "Try another browser.");
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

/** @param {Blob} blob */
async function decoded(blob) {
  try {
    return await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new Problem("The file is not a photo that this browser can read, or is damaged.", `Use a ${READABLE} file.`);
  }
}

/** @type {{ faces: Face[], left: number }} */
const camera = { faces: [], left: 0 };

/** @type {Record<string, (message: any) => Promise<unknown>>} */
const tasks = {
  /** @param {{ options: Options }} message */
  async open({ options }) {
    await aligner(options);
    return { max_pixels: MAX_PIXELS, max_side: MAX_SIDE };
  },
  /** @param {{ blob: Blob, name: string, options: Options }} message */
  async photo({ blob, name, options }) {
    const image = pixels(await decoded(blob));
    return imageRecord(name, image, await detectAndAlign(await aligner(options), image, true));
  },
  /**
   * A picture of the camera. Between detections, and unless a face was lost, those of the last one are followed.
   * @param {{ bitmap: ImageBitmap, first: boolean, options: Options }} message
   */
  async frame({ bitmap, first, options }) {
    const image = pixels(bitmap);
    const ready = await aligner(options);
    if (!first && camera.faces.length > 0 && camera.left > 0) {
      camera.left -= 1;
      const found = await follow(ready, image, camera.faces.map((face) => face.landmarks));
      if (!found.some(isDoubtful)) {
        camera.faces = found.map((face, index) => ({ ...face, score: camera.faces[index].score }));
        return imageRecord("camera.jpg", image, camera.faces);
      }
    }
    camera.left = DETECT_EVERY - 1;
    camera.faces = await detectAndAlign(ready, image, false);
    return imageRecord("camera.jpg", image, camera.faces);
  },
};

/** @param {unknown} error that nobody foresaw */
function failure(error) {
  return new Problem(`The page's programs failed (${error}).`, "Load the page again, or try a smaller photo.");
}

const page = /** @type {Worker} */ (/** @type {unknown} */ (self));
page.onmessage = async ({ data: message }) => {
  try {
    page.postMessage({ id: message.id, result: await tasks[message.task](message) });
  } catch (error) {
    const { message: text, remedy } = error instanceof Problem ? error : failure(error);
    page.postMessage({ id: message.id, error: text, remedy });
  }
};
