// @ts-check
// Affine maps of points and images: the port of facealign/geometry/affine.py.

import { bilinear, blockAverage, cropped } from "./image.js";

/**
 * Rows of a 2 x 3 matrix, one after the other.
 * @typedef {readonly [number, number, number, number, number, number]} Affine
 * @typedef {[number, number]} Point
 * @typedef {import("./image.js").Image} Image
 */

const MAX_SHRINK = 2; // an image that shrinks by this factor or more is area-averaged first

/**
 * Points mapped by an affine.
 * @param {Affine} affine
 * @param {readonly Point[]} points
 * @returns {Point[]}
 */
export function apply([a, b, c, d, e, f], points) {
  return points.map(([x, y]) => [a * x + b * y + c, d * x + e * y + f]);
}

/**
 * The affine that applies `first`, then `second`.
 * @param {Affine} second
 * @param {Affine} first
 * @returns {Affine}
 */
export function compose([a, b, c, d, e, f], [g, h, i, j, k, l]) {
  return [a * g + b * j, a * h + b * k, a * i + b * l + c, d * g + e * j, d * h + e * k, d * i + e * l + f];
}

/**
 * The inverse of an affine.
 * @param {Affine} affine
 * @returns {Affine}
 */
export function invert([a, b, c, d, e, f]) {
  const det = a * e - b * d;
  return [e / det, -b / det, (b * f - c * e) / det, -d / det, a / det, (c * d - a * f) / det];
}

/**
 * Affine that turns points clockwise on the screen about a centre.
 * @param {Point} centre
 * @param {number} degrees
 * @returns {Affine}
 */
export function turnAbout([x, y], degrees) {
  const angle = (degrees * Math.PI) / 180;
  const [cosine, sine] = [Math.cos(angle), Math.sin(angle)];
  return [cosine, -sine, x - cosine * x + sine * y, sine, cosine, y - sine * x - cosine * y];
}

/**
 * Least-squares similarity transform from `source` to `target`, of as many points; see geometry/similarity.py.
 * @param {readonly Point[]} source
 * @param {readonly Point[]} target
 * @returns {Affine}
 */
export function fitSimilarity(source, target) {
  const [fromX, fromY] = mean(source);
  const [toX, toY] = mean(target);
  let [spread, real, imaginary] = [0, 0, 0];
  source.forEach((point, index) => {
    const [x, y] = [point[0] - fromX, point[1] - fromY];
    const [u, v] = [target[index][0] - toX, target[index][1] - toY];
    spread += x * x + y * y;
    real += x * u + y * v;
    imaginary += x * v - y * u;
  });
  if (!(spread > 0)) throw new Error("all landmarks of a face are in one place: damaged weights?");
  const [a, b] = [real / spread, imaginary / spread];
  return [a, -b, toX - a * fromX + b * fromY, b, a, toY - b * fromX - a * fromY];
}

/**
 * Mean of points.
 * @param {readonly Point[]} points
 * @returns {Point}
 */
export function mean(points) {
  const sum = points.reduce(([x, y], point) => [x + point[0], y + point[1]], [0, 0]);
  return [sum[0] / points.length, sum[1] / points.length];
}

/**
 * The crop that an affine makes of an image, black outside it: sampled bilinearly; where the image shrinks by
 * MAX_SHRINK or more, whole blocks of pixels are averaged first.
 * @param {Image} image
 * @param {Affine} affine from image to crop pixels
 * @param {number} width of the crop, pixels
 * @param {number} height
 * @returns {Image}
 */
export function warp(image, affine, width, height) {
  const shrink = 1 / Math.sqrt(Math.abs(affine[0] * affine[4] - affine[1] * affine[3]));
  if (shrink < MAX_SHRINK) return sample(image, invert(affine), width, height);
  const factor = Math.min(Math.floor(shrink), Math.max(image.width, image.height));
  const [low, high] = reach(affine, width, height);
  const [x1, y1] = [Math.max(low[0] - factor, 0), Math.max(low[1] - factor, 0)];
  const [x2, y2] = [Math.min(high[0] + factor, image.width), Math.min(high[1] + factor, image.height)];
  if (x2 <= x1 || y2 <= y1) return { width, height, data: new Uint8ClampedArray(4 * width * height) };
  const small = blockAverage(cropped(image, x1, y1, x2, y2), factor);
  const offset = (factor - 1) / 2;
  const grid = /** @type {Affine} */ ([factor, 0, offset + x1, 0, factor, offset + y1]);
  return sample(small, invert(compose(affine, grid)), width, height);
}

/**
 * Bounds of the image pixels that a crop depends on: the upper left, and the lower right, exclusive.
 * @param {Affine} affine
 * @param {number} width
 * @param {number} height
 * @returns {[Point, Point]}
 */
function reach(affine, width, height) {
  const back = invert(affine);
  const [middle] = apply(back, [[(width - 1) / 2, (height - 1) / 2]]);
  const [halfWidth, halfHeight] = [(width + 1) / 2, (height + 1) / 2];
  const farX = Math.abs(back[0]) * halfWidth + Math.abs(back[1]) * halfHeight;
  const farY = Math.abs(back[3]) * halfWidth + Math.abs(back[4]) * halfHeight;
  return [
    [Math.floor(middle[0] - farX), Math.floor(middle[1] - farY)],
    [Math.ceil(middle[0] + farX) + 1, Math.ceil(middle[1] + farY) + 1],
  ];
}

/**
 * An image sampled bilinearly where `back` maps the pixels of the crop.
 * @param {Image} image
 * @param {Affine} back
 * @param {number} width
 * @param {number} height
 * @returns {Image}
 */
function sample(image, back, width, height) {
  const data = new Uint8ClampedArray(4 * width * height);
  for (let row = 0, at = 0; row < height; row++) {
    for (let column = 0; column < width; column++, at += 4) {
      const x = back[0] * column + back[1] * row + back[2];
      const y = back[3] * column + back[4] * row + back[5];
      bilinear(image, x, y, data, at);
    }
  }
  return { width, height, data };
}
