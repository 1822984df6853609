// @ts-check
// The faces of an image: box, score, landmarks, pose: the port of facealign/inference/face_aligner.py.

import { area, boxFromLandmarks, intersection } from "./boxes.js";
import { headPose } from "./head_pose.js";
import { disagreements, look, refined, transformByLandmarks, uprightLandmarks } from "./landmark_network.js";
import { fivePointRoll } from "./landmarks.js";
import { detect, detectTurned } from "./mtcnn.js";

/**
 * @typedef {import("./affine.js").Point} Point
 * @typedef {import("./boxes.js").Box} Box
 * @typedef {import("./head_pose.js").Pose} Pose
 * @typedef {import("./image.js").Image} Image
 * @typedef {import("./landmark_network.js").LandmarkNetwork} LandmarkNetwork
 * @typedef {import("./mtcnn.js").Nets} Nets
 * @typedef {{ box: Box, score: number | null, landmarks: Point[], pose: Pose | null, confidence: number }} Face
 *   confidence: probability, 0 to 1, that the landmarks are right
 * @typedef {{ detector: Nets, network: LandmarkNetwork, second: LandmarkNetwork | null }} Aligner
 *   second: second cascade stage
 */

const [HALF, STEEPNESS] = [0.044, 4.3]; // as in inference/confidence.py
const DOUBTFUL = 0.5;
const SAME_FACE = 0.3;

/** @param {Face} face */
export function isDoubtful(face) {
  return face.confidence < DOUBTFUL;
}

/**
 * The faces of an image, best score first. Where none is found upright, or one is doubtful, the image is searched
 * turned by quarters too.
 * @param {Aligner} aligner
 * @param {Image} image
 * @param {boolean} turns whether it may be searched so
 * @returns {Promise<Face[]>}
 */
export async function detectAndAlign(aligner, image, turns) {
  const faces = await aligned(aligner, image, await detect(aligner.detector, image));
  if (!turns || (faces.length > 0 && !faces.some(isDoubtful))) return faces;
  const turned = await aligned(aligner, image, await detectTurned(aligner.detector, image));
  return best([...faces, ...turned.filter((face) => !isDoubtful(face))]);
}

/**
 * The faces that had these landmarks a moment ago, as in the frame before; scores are null.
 * @param {Aligner} aligner
 * @param {Image} image
 * @param {Point[][]} landmarks
 * @returns {Promise<Face[]>}
 */
export async function follow(aligner, image, landmarks) {
  const { network, second } = aligner;
  const affines = landmarks.map((points) => transformByLandmarks(points, network.spec));
  const first = await look(network, image, affines);
  const last = second ? await refined(second, image, first) : first;
  return described(aligner, image, first, last, last.map(boxFromLandmarks), null);
}

/**
 * @param {Aligner} aligner
 * @param {Image} image
 * @param {import("./mtcnn.js").Detection[]} found
 * @returns {Promise<Face[]>}
 */
async function aligned(aligner, image, found) {
  const { network, second } = aligner;
  const boxes = found.map((one) => one.box);
  const first = await uprightLandmarks(network, image, boxes, found.map((one) => fivePointRoll(one.points)));
  const last = second ? await refined(second, image, first) : first;
  return described(aligner, image, first, last, boxes, found.map((one) => one.score));
}

/**
 * @param {Aligner} aligner
 * @param {Image} image
 * @param {Point[][]} first landmarks by the first cascade stage
 * @param {Point[][]} last by the last one
 * @param {Box[]} boxes
 * @param {number[] | null} scores
 * @returns {Promise<Face[]>}
 */
async function described(aligner, image, first, last, boxes, scores) {
  const differences = await disagreements(aligner.network, image, first);
  return last.map((landmarks, index) => ({
    box: boxes[index],
    score: scores && scores[index],
    landmarks,
    pose: headPose(landmarks),
    confidence: confidence(differences[index]),
  }));
}

/**
 * Probability that landmarks are right, by their disagreement with those predicted on tilted crops.
 * @param {number} difference
 */
function confidence(difference) {
  return 1 / (1 + (difference / HALF) ** STEEPNESS);
}

/**
 * Of faces whose boxes overlap, the one with the most confidence; best score first.
 * @param {Face[]} faces
 */
function best(faces) {
  /** @type {Face[]} */
  const kept = [];
  for (const face of [...faces].sort((a, b) => b.confidence - a.confidence)) {
    if (!kept.some((other) => same(face.box, other.box))) kept.push(face);
  }
  return kept.sort((a, b) => (b.score ?? 0) - (a.score ?? 0));
}

/**
 * Whether two boxes are of one face: they overlap, or one is largely within the other.
 * @param {Box} a
 * @param {Box} b
 */
function same(a, b) {
  const common = intersection(a, b);
  const union = area(a) + area(b) - common;
  return (union > 0 && common / union >= SAME_FACE) || common >= Math.min(area(a), area(b)) / 2;
}
