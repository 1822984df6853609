// @ts-check
// Results as facealign writes them: the entry of landmarks.json, CSV in long form, and 300-W's .pts.

import { isDoubtful } from "./face_aligner.js";

/** @typedef {import("./overlay.js").Photo} Photo */

/**
 * @param {number} value
 * @param {number} [digits]
 */
function short(value, digits = 3) {
  return Number(value.toFixed(digits)) + 0;
}

/**
 * The entry of an image. Coordinates are rounded to a thousandth.
 * @param {string} file
 * @param {{ width: number, height: number }} size
 * @param {import("./face_aligner.js").Face[]} faces
 * @returns {Photo}
 */
export function imageRecord(file, { width, height }, faces) {
  const entries = faces.map((face) => ({
    box: face.box.map((value) => short(value)),
    score: face.score === null ? null : short(face.score, 5),
    confidence: short(face.confidence),
    doubtful: isDoubtful(face),
    landmarks: face.landmarks.map(([x, y]) => /** @type {[number, number]} */ ([short(x), short(y)])),
    pose: face.pose && {
      yaw: short(face.pose.yaw),
      pitch: short(face.pose.pitch),
      roll: short(face.pose.roll),
    },
  }));
  return { file, width, height, faces: entries };
}

/**
 * A table with a line for each landmark of each face.
 * @param {Photo} photo
 */
export function csvOf({ file, faces }) {
  const quoted = /[",\r\n]/.test(file) ? `"${file.replaceAll('"', '""')}"` : file;
  const number = (/** @type {number | null | undefined} */ value) =>
    value === null || value === undefined ? "" : Number.isInteger(value) ? `${value}.0` : String(value);
  const lines = ["file,face,x1,y1,x2,y2,score,confidence,yaw,pitch,roll,landmark,x,y"];
  faces.forEach(({ box, score, confidence, pose, landmarks }, index) => {
    const whole = [...box, score, confidence, pose?.yaw, pose?.pitch, pose?.roll].map(number);
    landmarks.forEach((point, landmark) => {
      lines.push([quoted, index, ...whole, landmark, ...point.map(number)].join(","));
    });
  });
  return `${lines.join("\n")}\n`;
}

/**
 * A .pts file of a face's landmarks, 1-based.
 * @param {import("./overlay.js").Face} face
 */
export function ptsOf({ landmarks }) {
  const rows = landmarks.map((point) => `${point.map((value) => (value + 1).toFixed(6)).join(" ")}\n`);
  return `version: 1\nn_points: ${landmarks.length}\n{\n${rows.join("")}}\n`;
}
