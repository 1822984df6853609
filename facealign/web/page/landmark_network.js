// @ts-check
// Landmark networks, and their looks at faces: the port of facealign/inference/landmark_network.py and looks.py.

import { apply, compose, fitSimilarity, invert, mean, turnAbout, warp } from "./affine.js";
import { bounds, boxFromLandmarks, square } from "./boxes.js";
import { MIRROR, landmarkRoll, rollDifference } from "./landmarks.js";

/**
 * @typedef {import("./affine.js").Affine} Affine
 * @typedef {import("./affine.js").Point} Point
 * @typedef {import("./boxes.js").Box} Box
 * @typedef {import("./image.js").Image} Image
 * @typedef {import("./mtcnn.js").Net} Net
 *
 * The fields of facealign's ModelSpec that are needed here.
 * @typedef {object} Spec
 * @property {string} output_name
 * @property {number} input_height
 * @property {number} input_width
 * @property {"BGR" | "RGB"} channels
 * @property {number} mean
 * @property {number} scale
 * @property {number} box_scale
 * @property {number[]} box_shift
 * @property {number} origin
 * @property {number} mirror_bias
 * @property {number} share
 * @property {number[]} mean_shape
 *
 * flip: average each prediction with that on the mirrored crop.
 * @typedef {{ net: Net, spec: Spec, flip: boolean }} LandmarkNetwork
 */

const LEANS = 20; // degrees, as in inference/looks.py
const APART = 20;
const ROUNDS = 2;
const TILT = 15;
const LANDMARKS = 68;

/**
 * Affine to the crop of a box, turned about its centre.
 * @param {Box} box
 * @param {number} roll degrees
 * @param {Spec} spec
 * @returns {Affine}
 */
export function transformByBox(box, roll, spec) {
  const [x1, y1, x2, y2] = square(box, spec.box_scale, spec.box_shift);
  const [width, height] = [spec.input_width, spec.input_height];
  const zoom = Math.max(width, height) / (x2 - x1);
  const [right, down] = [(width - 1) / 2 - (zoom * (x1 + x2)) / 2, (height - 1) / 2 - (zoom * (y1 + y2)) / 2];
  /** @type {Affine} */
  const upright = [zoom, 0, right, 0, zoom, down];
  if (roll === 0) return upright;
  return compose(upright, turnAbout([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], -roll));
}

/**
 * Affine to an upright crop of a face with these landmarks.
 * @param {Point[]} points
 * @param {Spec} spec
 * @returns {Affine}
 */
export function transformByLandmarks(points, spec) {
  const upright = turnAbout(mean(points), -landmarkRoll(points));
  return compose(transformByBox(boxFromLandmarks(apply(upright, points)), 0, spec), upright);
}

/**
 * Landmarks in the image that a network predicts on its crops by affines.
 * @param {LandmarkNetwork} network
 * @param {Image} image
 * @param {Affine[]} affines
 * @returns {Promise<Point[][]>}
 */
export async function look({ net, spec, flip }, image, affines) {
  if (affines.length === 0) return [];
  const [width, height] = [spec.input_width, spec.input_height];
  const crops = affines.map((affine) => warp(image, affine, width, height));
  const batch = { data: networkInput(crops, spec), shape: [crops.length, 3, height, width] };
  let faces = decoded((await net(batch))[spec.output_name].data, spec);
  if (flip) {
    const mirrored = { ...batch, data: mirroredRows(batch.data, width) };
    const others = decoded((await net(mirrored))[spec.output_name].data, spec);
    faces = faces.map((face, index) =>
      face.map(([x, y], point) => {
        const [u, v] = others[index][MIRROR[point]];
        return [(x + width - 1 - u) / 2 + spec.mirror_bias, (y + v) / 2];
      }),
    );
  }
  return faces.map((face, index) => apply(invert(affines[index]), face));
}

/**
 * Input of the network for crops, plane by plane.
 * @param {Image[]} crops
 * @param {Spec} spec
 */
function networkInput(crops, spec) {
  const plane = spec.input_width * spec.input_height;
  const values = new Float32Array(3 * plane * crops.length);
  const order = spec.channels === "BGR" ? [2, 1, 0] : [0, 1, 2];
  crops.forEach(({ data }, number) => {
    order.forEach((channel, place) => {
      const start = plane * (3 * number + place);
      for (let pixel = 0; pixel < plane; pixel++) {
        values[start + pixel] = (data[4 * pixel + channel] - spec.mean) * spec.scale;
      }
    });
  });
  return values;
}

/**
 * @param {Float32Array} values
 * @param {number} width
 */
function mirroredRows(values, width) {
  const mirrored = values.slice();
  for (let start = 0; start < values.length; start += width) mirrored.subarray(start, start + width).reverse();
  return mirrored;
}

/**
 * Landmarks of each crop, in its 0-based pixels, from outputs: all x, then all y.
 * @param {Float32Array} values
 * @param {Spec} spec
 * @returns {Point[][]}
 */
function decoded(values, spec) {
  if (!values.every(Number.isFinite)) throw new Error("the network's output is not finite: damaged weights?");
  return Array.from({ length: values.length / (2 * LANDMARKS) }, (_, face) =>
    Array.from({ length: LANDMARKS }, (_, point) => {
      const at = 2 * LANDMARKS * face + point;
      return /** @type {Point} */ ([
        values[at] * spec.input_width - spec.origin,
        values[at + LANDMARKS] * spec.input_height - spec.origin,
      ]);
    }),
  );
}

/**
 * Landmarks of the faces in boxes, which lean by about these rolls, in degrees. A crop is turned where a face leans,
 * and cut anew where the landmarks predicted on it lean otherwise than it does.
 * @param {LandmarkNetwork} network
 * @param {Image} image
 * @param {Box[]} boxes
 * @param {number[]} rolls
 * @returns {Promise<Point[][]>}
 */
export async function uprightLandmarks(network, image, boxes, rolls) {
  const turned = rolls.map((roll) => (Math.abs(roll) >= LEANS ? roll : 0));
  const landmarks = await look(
    network,
    image,
    boxes.map((box, index) => transformByBox(box, turned[index], network.spec)),
  );
  for (let round = 0; round < ROUNDS; round++) {
    const predicted = landmarks.map(landmarkRoll);
    const anew = [...landmarks.keys()].filter(
      (index) => Math.abs(rollDifference(predicted[index], turned[index])) >= APART,
    );
    const affines = anew.map((index) => transformByLandmarks(landmarks[index], network.spec));
    const again = await look(network, image, affines);
    anew.forEach((index, at) => {
      landmarks[index] = again[at];
      turned[index] = predicted[index];
    });
  }
  return landmarks;
}

/**
 * Landmarks refined by a second cascade stage, on crops that they align to the mean shape.
 * @param {LandmarkNetwork} second
 * @param {Image} image
 * @param {Point[][]} faces
 * @returns {Promise<Point[][]>}
 */
export async function refined(second, image, faces) {
  const { mean_shape: numbers, share } = second.spec;
  const shape = Array.from({ length: LANDMARKS }, (_, point) =>
    /** @type {Point} */ ([numbers[point], numbers[point + LANDMARKS]]),
  );
  const own = await look(second, image, faces.map((face) => fitSimilarity(face, shape)));
  return faces.map((face, index) =>
    face.map(([x, y], point) => {
      const [u, v] = own[index][point];
      return [x + share * (u - x), y + share * (v - y)];
    }),
  );
}

/**
 * How far landmarks differ from those predicted on crops by them that are tilted, relative to the face's size.
 * @param {LandmarkNetwork} network
 * @param {Image} image
 * @param {Point[][]} faces
 * @returns {Promise<number[]>}
 */
export async function disagreements(network, image, faces) {
  const { spec } = network;
  /** @type {Point} */
  const centre = [(spec.input_width - 1) / 2, (spec.input_height - 1) / 2];
  const affines = faces.map((face) => transformByLandmarks(face, spec));
  const tilted = [-TILT, TILT].flatMap((degrees) => affines.map((one) => compose(turnAbout(centre, degrees), one)));
  const again = await look(network, image, tilted);
  return faces.map(
    (face, index) => (disagreement(face, again[index]) + disagreement(face, again[index + faces.length])) / 2,
  );
}

/**
 * Mean distance between two predictions, by the square root of the area of the second one's box.
 * @param {Point[]} first
 * @param {Point[]} second
 */
function disagreement(first, second) {
  const distances = first.map(([x, y], point) => Math.hypot(x - second[point][0], y - second[point][1]));
  const [x1, y1, x2, y2] = bounds(second);
  const ratio = distances.reduce((sum, one) => sum + one, 0) / first.length / Math.sqrt((x2 - x1) * (y2 - y1));
  return Number.isFinite(ratio) ? ratio : Infinity;
}
