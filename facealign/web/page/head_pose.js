// @ts-check
// Head pose from six landmarks: the port of facealign/geometry/head_pose.py. cv2.solvePnP is replaced by the same
// minimisation, that of the distances in the image, by Levenberg and Marquardt.

import { boxFromLandmarks, square } from "./boxes.js";

/**
 * @typedef {import("./affine.js").Point} Point
 * @typedef {{ yaw: number, pitch: number, roll: number }} Pose degrees
 * @typedef {[number, number, number]} Vector
 * @typedef {[Vector, Vector, Vector]} Matrix rows
 * @typedef {{ rotation: Matrix, place: Vector }} View of the head in the camera
 */

const LANDMARKS = [30, 8, 36, 45, 48, 54]; // nose tip, chin, outer eye corners, mouth corners
/** @type {Vector[]} */
const MODEL = [
  [0, 0, 0],
  [0, -330, -65],
  [-225, 170, -135],
  [225, 170, -135],
  [-150, -150, -125],
  [150, -150, -125],
];
const SIDE = 64; // of the reference demo's crop, and its focal length, pixels
const MOST_STEPS = 100;

/**
 * Head pose of a face, or null when the landmarks allow no solution.
 * @param {Point[]} landmarks 68 of them
 * @returns {Pose | null}
 */
export function headPose(landmarks) {
  const [x1, y1, x2] = square(boxFromLandmarks(landmarks));
  const zoom = SIDE / (x2 - x1);
  // Relative to the principal point, in focal lengths.
  const seen = LANDMARKS.map((index) => {
    const [x, y] = landmarks[index];
    return /** @type {Point} */ ([((x - x1) * zoom) / SIDE - 0.5, ((y - y1) * zoom) / SIDE - 0.5]);
  });
  if (!seen.flat().every(Number.isFinite)) return null;
  const view = solved(frontal(seen), seen);
  return view && angles(view.rotation);
}

/**
 * Start: a frontal head with the roll of the eye corners.
 * @param {Point[]} seen
 * @returns {View}
 */
function frontal(seen) {
  const across = [seen[3][0] - seen[2][0], seen[3][1] - seen[2][1]];
  const lean = Math.atan2(across[1], across[0]);
  const [cosine, sine] = [Math.cos(lean), Math.sin(lean)];
  const away = 450 / Math.max(Math.hypot(...across), 1e-6 / SIDE);
  return {
    rotation: [[cosine, sine, 0], [sine, -cosine, 0], [0, 0, -1]],
    place: [seen[0][0] * away, seen[0][1] * away, away],
  };
}

/**
 * The view that shows the model's points nearest to where they are seen, from a start.
 * @param {View} view
 * @param {Point[]} seen
 * @returns {View | null}
 */
function solved(view, seen) {
  let damping = 1e-3;
  let error = errorOf(view, seen);
  for (let step = 0; step < MOST_STEPS; step++) {
    const { normal, gradient } = equations(view, seen);
    const damped = normal.map((row, at) => row.map((value, other) => (at === other ? value * (1 + damping) : value)));
    const change = solution(damped, gradient);
    if (!change) return null;
    const next = moved(view, change);
    const nextError = errorOf(next, seen);
    if (!(nextError < error)) {
      damping *= 10;
      if (damping > 1e12) break;
      continue;
    }
    const gain = error - nextError;
    [view, error] = [next, nextError];
    damping = Math.max(damping / 10, 1e-12);
    if (gain < 1e-14 * error) break;
  }
  return Number.isFinite(error) ? view : null;
}

/**
 * A point of the model, turned as the head is.
 * @param {Matrix} rotation
 * @param {Vector} point
 * @returns {Vector}
 */
function turned(rotation, [x, y, z]) {
  return /** @type {Vector} */ (rotation.map((row) => row[0] * x + row[1] * y + row[2] * z));
}

/**
 * @param {View} view
 * @param {Point[]} seen
 */
function errorOf({ rotation, place }, seen) {
  return MODEL.reduce((sum, point, index) => {
    const [x, y, z] = turned(rotation, point).map((value, axis) => value + place[axis]);
    return sum + (x / z - seen[index][0]) ** 2 + (y / z - seen[index][1]) ** 2;
  }, 0);
}

/**
 * Normal equations of a small turn (of three axes) and shift.
 * @param {View} view
 * @param {Point[]} seen
 */
function equations({ rotation, place }, seen) {
  const normal = Array.from({ length: 6 }, () => new Array(6).fill(0));
  const gradient = new Array(6).fill(0);
  MODEL.forEach((point, index) => {
    const [u, v, w] = turned(rotation, point);
    const [x, y, z] = [u + place[0], v + place[1], w + place[2]];
    // A small turn about the axes a, b, c moves the point by (b w - c v, c u - a w, a v - b u).
    const moves = [[0, -w, v], [w, 0, -u], [-v, u, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]];
    for (const [axis, value] of [x, y].entries()) {
      const slopes = moves.map((move) => move[axis] / z - (value * move[2]) / z ** 2);
      const missing = seen[index][axis] - value / z;
      for (let row = 0; row < 6; row++) {
        gradient[row] += slopes[row] * missing;
        for (let column = 0; column < 6; column++) normal[row][column] += slopes[row] * slopes[column];
      }
    }
  });
  return { normal, gradient };
}

/**
 * Solution of a system of linear equations, by Gauss, or null when there is none.
 * @param {number[][]} matrix
 * @param {number[]} right
 */
function solution(matrix, right) {
  const rows = matrix.map((row, index) => [...row, right[index]]);
  const size = rows.length;
  for (let column = 0; column < size; column++) {
    let pivot = column;
    for (let row = column + 1; row < size; row++) {
      if (Math.abs(rows[row][column]) > Math.abs(rows[pivot][column])) pivot = row;
    }
    [rows[column], rows[pivot]] = [rows[pivot], rows[column]];
    if (!(Math.abs(rows[column][column]) > 0)) return null;
    for (let row = 0; row < size; row++) {
      if (row === column) continue;
      const factor = rows[row][column] / rows[column][column];
      for (let other = column; other <= size; other++) rows[row][other] -= factor * rows[column][other];
    }
  }
  return rows.map((row, index) => row[size] / row[index]);
}

/**
 * @param {View} view
 * @param {number[]} change turn about three axes, radians, and shift
 * @returns {View}
 */
function moved({ rotation, place }, [a, b, c, ...shift]) {
  const angle = Math.hypot(a, b, c);
  const columns = [0, 1, 2].map((column) => {
    const [x, y, z] = rotation.map((row) => row[column]);
    if (angle === 0) return [x, y, z];
    // Rodrigues' formula.
    const [k, l, m] = [a / angle, b / angle, c / angle];
    const [cosine, sine] = [Math.cos(angle), Math.sin(angle)];
    const along = (k * x + l * y + m * z) * (1 - cosine);
    return [
      x * cosine + (l * z - m * y) * sine + k * along,
      y * cosine + (m * x - k * z) * sine + l * along,
      z * cosine + (k * y - l * x) * sine + m * along,
    ];
  });
  return {
    rotation: /** @type {Matrix} */ ([0, 1, 2].map((row) => columns.map((column) => column[row]))),
    place: /** @type {Vector} */ (place.map((value, axis) => value + shift[axis])),
  };
}

/**
 * Angles of a model-to-camera rotation (camera: x right, y down, z away from the viewer).
 * @param {Matrix} rotation
 * @returns {Pose}
 */
function angles([[, right], [, down], [x, y, z]]) {
  const degrees = (/** @type {number} */ radians) => (radians * 180) / Math.PI + 0;
  return {
    yaw: degrees(Math.atan2(x, -z)),
    pitch: degrees(-Math.asin(Math.max(-1, Math.min(1, -y)))),
    roll: degrees(-Math.atan2(-right, -down)),
  };
}
