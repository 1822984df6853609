// @ts-check
// Face detection by MTCNN: the port of facealign/detection/mtcnn.py, which explains the steps.
//
// Inside this module boxes are in edge coordinates, in which pixel i reaches from i to i + 1; those returned are in
// pixel centres, as everywhere else.

import { overlapping, square, suppress } from "./boxes.js";
import { bilinear, blockAverage, quarterTurned, resized, rounded, turnedBack } from "./image.js";

/**
 * @typedef {import("./image.js").Image} Image
 * @typedef {import("./boxes.js").Box} Box
 * @typedef {import("./affine.js").Point} Point
 * @typedef {{ box: Box, score: number, points: Point[] }} Detection
 *   points: eyes, tip of the nose, corners of the mouth
 * @typedef {{ pixels: Image, scale: Point }} Level the image at one size, and that size relative to the original
 * @typedef {{ data: Float32Array, shape: readonly number[] }} Values
 * @typedef {(input: Values) => Promise<Record<string, Values>>} Net its outputs by name
 * @typedef {{ pnet: Net, rnet: Net, onet: Net }} Nets
 * @typedef {{ box: Box, score: number, offset: readonly number[], points: readonly number[] }} Seen what RNet or ONet says of a box
 */

const [CELL, STRIDE] = [12, 2];
const MIN_FACE = 40;
const FACTOR = 0.709;
const [PNET_LEAST, RNET_LEAST, ONET_LEAST] = [0.6, 0.7, 0.7];
const UNSURE = 0.6;
const BATCH = 64;
const FAR = 2 ** 30; // more pixels than any image is wide

/**
 * The faces of an image, best score first.
 * @param {Nets} nets
 * @param {Image} image
 * @returns {Promise<Detection[]>}
 */
export async function detect(nets, image) {
  const sources = halves(image);
  const proposed = await propose(nets.pnet, pyramid(sources));
  return finish(nets.onet, sources, await refine(nets.rnet, sources, proposed));
}

/**
 * Faces found in the image turned by 90, 180 and 270 degrees, in coordinates of the image itself.
 * @param {Nets} nets
 * @param {Image} image
 * @returns {Promise<Detection[]>}
 */
export async function detectTurned(nets, image) {
  /** @type {Detection[]} */
  const found = [];
  for (const turns of [1, 2, 3]) {
    const back = (/** @type {Point} */ point) => turnedBack(point, turns, image.width, image.height);
    for (const { box, score, points } of await detect(nets, quarterTurned(image, turns))) {
      const [a, b] = [back([box[0], box[1]]), back([box[2], box[3]])];
      /** @type {Box} */
      const turned = [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];
      found.push({ box: turned, score, points: points.map(back) });
    }
  }
  return found;
}

/**
 * The image, then half of it, and so on, as long as its sides have CELL pixels.
 * @param {Image} image
 * @returns {Level[]}
 */
export function halves(image) {
  /** @type {Level[]} */
  const levels = [{ pixels: image, scale: [1, 1] }];
  let [pixels, width, height] = [image, image.width, image.height];
  while (Math.min(height, width) >= 2 * CELL) {
    [height, width] = [(height + 1) >> 1, (width + 1) >> 1];
    pixels = blockAverage(resized(pixels, 2 * width, 2 * height), 2);
    levels.push({ pixels, scale: [width / image.width, height / image.height] });
  }
  return levels;
}

/**
 * PNet's pyramid, largest level first: at CELL pixels, faces of MIN_FACE pixels, then larger ones.
 * @param {Level[]} sources from `halves`
 * @returns {Level[]}
 */
export function pyramid(sources) {
  const { width, height } = sources[0].pixels;
  const levels = [];
  for (let exponent = 0; ; exponent++) {
    const scale = (CELL / MIN_FACE) * FACTOR ** exponent;
    if (scale * Math.min(height, width) < CELL) return levels;
    const [columns, rows] = [rounded(width * scale), rounded(height * scale)];
    const large = sources.filter(({ pixels }) => pixels.width >= columns && pixels.height >= rows);
    const pixels = resized(large[large.length - 1].pixels, columns, rows);
    levels.push({ pixels, scale: /** @type {Point} */ ([columns / width, rows / height]) });
  }
}

/**
 * Input (1, 3, h, w) of PNet: RGB, (value - 127.5) / 128.
 * @param {Image} image
 * @returns {Values}
 */
function asSeen({ data, width, height }) {
  const plane = width * height;
  const values = new Float32Array(3 * plane);
  for (let pixel = 0, from = 0; pixel < plane; pixel++, from += 4) {
    for (let channel = 0; channel < 3; channel++) {
      values[channel * plane + pixel] = (data[from + channel] - 127.5) / 128;
    }
  }
  return { data: values, shape: [1, 3, height, width] };
}

/**
 * Stage 1: PNet over the levels; square boxes.
 * @param {Net} pnet
 * @param {Level[]} levels
 * @returns {Promise<Box[]>}
 */
async function propose(pnet, levels) {
  /** @type {{ window: Box, box: Box, score: number, offset: number[] }[]} */
  const found = [];
  for (const [index, { pixels, scale }] of levels.entries()) {
    const { prob, "conv4-2": offsets } = await pnet(asSeen(pixels));
    const [rows, columns] = prob.shape.slice(2);
    const plane = rows * columns;
    for (let at = 0; at < plane; at++) {
      const score = prob.data[plane + at];
      if (score < PNET_LEAST) continue;
      const [x, y] = [STRIDE * (at % columns), STRIDE * Math.floor(at / columns)];
      const far = index * FAR; // from those of the other levels, so that they do not overlap
      found.push({
        window: [x + far, y + far, x + CELL + far, y + CELL + far],
        box: [x / scale[0], y / scale[1], (x + CELL) / scale[0], (y + CELL) / scale[1]],
        score,
        offset: [0, 1, 2, 3].map((side) => offsets.data[side * plane + at]),
      });
    }
  }
  const all = found.map((one) => one.window);
  const first = suppress(all, found.map((one) => one.score), 0.5).map((index) => found[index]);
  // Overlap is computed on the windows, before regression, as in the authors' code.
  const kept = suppress(first.map((one) => one.box), first.map((one) => one.score), 0.7);
  return kept.map((index) => square(regress(first[index].box, first[index].offset)));
}

/**
 * Stage 2: RNet; square boxes, best score first.
 * @param {Net} rnet
 * @param {Level[]} levels
 * @param {Box[]} boxes
 * @returns {Promise<Box[]>}
 */
async function refine(rnet, levels, boxes) {
  const good = (await see(rnet, levels, boxes, 24)).filter(({ score }) => score >= RNET_LEAST);
  const kept = suppress(good.map(({ box }) => box), good.map(({ score }) => score), 0.7);
  return kept.map((index) => square(regress(good[index].box, good[index].offset)));
}

/**
 * Stage 3: ONet, which also gives the five points; boxes: best first.
 *
 * Of windows in one place the best is evaluated first, the others only if it is no face; a window of which ONet is
 * unsure, off all faces found, is evaluated again where ONet's regression moves it.
 * @param {Net} onet
 * @param {Level[]} levels
 * @param {Box[]} boxes
 * @returns {Promise<Detection[]>}
 */
async function finish(onet, levels, boxes) {
  const best = suppress(boxes, boxes.map((_, index) => -index), 0.7);
  const seen = await see(onet, levels, best.map((index) => boxes[index]), 48);
  const faces = () => seen.filter(({ score }) => score >= ONET_LEAST).map(({ box }) => box);
  const off = (/** @type {Box} */ box, /** @type {Box[]} */ found, /** @type {number} */ limit) =>
    !found.some((face) => overlapping(face, box, limit));
  const found = faces();
  const chosen = new Set(best);
  const others = boxes.filter((box, index) => !chosen.has(index) && off(box, found, 0.7));
  seen.push(...(await see(onet, levels, others, 48)));

  const better = faces();
  const moved = seen
    .filter(({ score }) => score >= UNSURE * ONET_LEAST && score < ONET_LEAST)
    .map(({ box, offset }) => square(regress(box, offset)))
    .filter((box) => off(box, better, 0.3));
  seen.push(...(await see(onet, levels, moved, 48)));

  const good = seen.filter(({ score }) => score >= ONET_LEAST);
  const final = good.map(({ box, offset }) => regress(box, offset));
  const kept = suppress(final, good.map(({ score }) => score), 0.7, true);
  return kept.map((index) => {
    const { box, score, points } = good[index];
    const at = (/** @type {number} */ axis, /** @type {number} */ point) =>
      box[axis] + points[5 * axis + point] * (box[axis + 2] - box[axis]) - 0.5;
    return {
      box: /** @type {Box} */ (final[index].map((value) => value - 0.5)),
      score,
      points: [0, 1, 2, 3, 4].map((point) => /** @type {Point} */ ([at(0, point), at(1, point)])),
    };
  });
}

/**
 * What RNet or ONet says of square boxes, each shown at `side` x `side` pixels.
 * @param {Net} net
 * @param {Level[]} levels
 * @param {Box[]} boxes
 * @param {number} side
 * @returns {Promise<Seen[]>}
 */
async function see(net, levels, boxes, side) {
  /** @type {Seen[]} */
  const seen = [];
  for (let start = 0; start < boxes.length; start += BATCH) {
    const part = boxes.slice(start, start + BATCH);
    const outputs = await net(cut(levels, part, side));
    const offsets = outputs["conv5-2"] ?? outputs["conv6-2"];
    part.forEach((box, index) => {
      const row = (/** @type {Values | undefined} */ values, /** @type {number} */ width) =>
        values ? Array.from(values.data.subarray(index * width, (index + 1) * width)) : [];
      const score = outputs.prob.data[2 * index + 1];
      seen.push({ box, score, offset: row(offsets, 4), points: row(outputs["conv6-3"], 10) });
    });
  }
  return seen;
}

/**
 * Net inputs (n, 3, side, side) cut from boxes of the image; black outside. Each is sampled from the smallest level
 * that shows it at `side` pixels or more, which avoids aliasing.
 * @param {Level[]} levels
 * @param {Box[]} boxes
 * @param {number} side
 * @returns {Values}
 */
export function cut(levels, boxes, side) {
  const plane = side * side;
  const values = new Float32Array(3 * plane * boxes.length);
  const pixel = new Float32Array(3);
  boxes.forEach((box, number) => {
    const wanted = side / Math.max(box[2] - box[0], 1e-6);
    const enough = levels.filter(({ scale }) => (scale[0] + scale[1]) / 2 >= wanted).length;
    const { pixels, scale } = levels[Math.max(enough - 1, 0)];
    const place = (/** @type {number} */ axis, /** @type {number} */ index) =>
      Math.fround(box[axis] * scale[axis] + ((index + 0.5) * (box[axis + 2] - box[axis]) * scale[axis]) / side - 0.5);
    for (let row = 0, at = 3 * plane * number; row < side; row++) {
      const y = place(1, row);
      for (let column = 0; column < side; column++, at++) {
        bilinear(pixels, place(0, column), y, pixel, 0);
        for (let channel = 0; channel < 3; channel++) {
          values[at + channel * plane] = (pixel[channel] - 127.5) / 128;
        }
      }
    }
  });
  return { data: values, shape: [boxes.length, 3, side, side] };
}

/**
 * A box moved by a net's offsets, fractions of width and height.
 * @param {Box} box
 * @param {readonly number[]} offset
 * @returns {Box}
 */
function regress(box, offset) {
  const sides = [box[2] - box[0], box[3] - box[1]];
  return /** @type {Box} */ (box.map((value, index) => value + offset[index] * sides[index % 2]));
}
