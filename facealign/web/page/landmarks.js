// @ts-check
// The 68-point markup: its mirror image, and the roll of faces; see facealign/geometry/landmarks.py and roll.py.

import { mean } from "./affine.js";

/** @typedef {import("./affine.js").Point} Point */

/** Landmark i of a mirrored face is landmark MIRROR[i] of the face. */
export const MIRROR = [
  ...[16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0], // outline
  ...[26, 25, 24, 23, 22, 21, 20, 19, 18, 17], // brows
  ...[27, 28, 29, 30, 35, 34, 33, 32, 31], // nose
  ...[45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40], // eyes
  ...[54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65], // mouth
];

/**
 * Roll of a face in degrees, positive clockwise on the screen.
 * @param {Point} leftEye
 * @param {Point} rightEye
 * @param {Point} mouth
 */
function rollOf(leftEye, rightEye, mouth) {
  const [x, y] = [mouth[0] - (leftEye[0] + rightEye[0]) / 2, mouth[1] - (leftEye[1] + rightEye[1]) / 2];
  const across = [rightEye[0] - leftEye[0] + y, rightEye[1] - leftEye[1] - x];
  return (Math.atan2(across[1], across[0]) * 180) / Math.PI;
}

/** @param {Point[]} points 68 landmarks */
export function landmarkRoll(points) {
  return rollOf(mean(points.slice(36, 42)), mean(points.slice(42, 48)), mean(points.slice(48, 68)));
}

/** @param {Point[]} points MTCNN's five: eyes, nose, corners of the mouth */
export function fivePointRoll(points) {
  return rollOf(points[0], points[1], mean(points.slice(3)));
}

/**
 * How far the angle `first` is clockwise of `second`: -180 to 180 degrees.
 * @param {number} first
 * @param {number} second
 */
export function rollDifference(first, second) {
  const turned = (first - second + 180) % 360;
  return (turned < 0 ? turned + 360 : turned) - 180;
}
