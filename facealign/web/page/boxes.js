// @ts-check
// Boxes x1 y1 x2 y2: the port of facealign/geometry/boxes.py, and non-maximum suppression.

/**
 * @typedef {[number, number, number, number]} Box
 * @typedef {import("./affine.js").Point} Point
 */

const MTCNN_CENTRE = [-0.024, -0.182]; // as in geometry/boxes.py
const MTCNN_SIZE = [0.972, 1.297];

/** @param {Box} box */
export function area([x1, y1, x2, y2]) {
  return Math.max(x2 - x1, 0) * Math.max(y2 - y1, 0);
}

/**
 * Common area of two boxes.
 * @param {Box} a
 * @param {Box} b
 */
export function intersection(a, b) {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  return Math.max(width, 0) * Math.max(height, 0);
}

/**
 * Whether two boxes overlap by more than `limit` (0 to 1) of their union or, if `ofSmaller`, of the smaller one.
 * @param {Box} a
 * @param {Box} b
 * @param {number} limit
 * @param {boolean} [ofSmaller]
 */
export function overlapping(a, b, limit, ofSmaller = false) {
  const common = intersection(a, b);
  if (common === 0) return false;
  const whole = ofSmaller ? Math.min(area(a), area(b)) : area(a) + area(b) - common;
  return common > limit * whole;
}

/**
 * Square around the centre of a box, of its longer side times `scale`, moved by fractions of that longer side.
 * @param {Box} box
 * @param {number} [scale]
 * @param {readonly number[]} [shift] right, down
 * @returns {Box}
 */
export function square([x1, y1, x2, y2], scale = 1, [right, down] = [0, 0]) {
  const side = Math.max(x2 - x1, y2 - y1);
  const [x, y, half] = [(x1 + x2) / 2 + side * right, (y1 + y2) / 2 + side * down, (side * scale) / 2];
  return [x - half, y - half, x + half, y + half];
}

/**
 * Bounding box of points.
 * @param {readonly Point[]} points
 * @returns {Box}
 */
export function bounds(points) {
  const [x, y] = [0, 1].map((axis) => points.map((point) => point[axis]));
  return [Math.min(...x), Math.min(...y), Math.max(...x), Math.max(...y)];
}

/**
 * Expected MTCNN box of a face with these landmarks.
 * @param {readonly Point[]} points
 * @returns {Box}
 */
export function boxFromLandmarks(points) {
  const [x1, y1, x2, y2] = bounds(points);
  const [width, height] = [x2 - x1, y2 - y1];
  const [x, y] = [(x1 + x2) / 2 + width * MTCNN_CENTRE[0], (y1 + y2) / 2 + height * MTCNN_CENTRE[1]];
  const [halfWidth, halfHeight] = [(width * MTCNN_SIZE[0]) / 2, (height * MTCNN_SIZE[1]) / 2];
  return [x - halfWidth, y - halfHeight, x + halfWidth, y + halfHeight];
}

/**
 * Non-maximum suppression: indices of the boxes that remain, best score first.
 * @param {readonly Box[]} boxes
 * @param {ArrayLike<number>} scores
 * @param {number} limit
 * @param {boolean} [ofSmaller] see `overlapping`
 * @returns {number[]}
 */
export function suppress(boxes, scores, limit, ofSmaller = false) {
  const order = boxes.map((_, index) => index).sort((a, b) => scores[b] - scores[a]);
  /** @type {number[]} */
  const kept = [];
  for (const index of order) {
    if (!kept.some((better) => overlapping(boxes[better], boxes[index], limit, ofSmaller))) kept.push(index);
  }
  return kept;
}
