// @ts-check
// Draws faces over a photo, as SVG in the photo's own pixels.

/**
 * Coordinates are pixels of the photo.
 * @typedef {object} Face
 * @property {number[]} box x1, y1, x2, y2
 * @property {number | null} score
 * @property {number} confidence
 * @property {boolean} doubtful
 * @property {[number, number][]} landmarks
 * @property {Pose | null} pose
 * @typedef {{ yaw: number, pitch: number, roll: number }} Pose degrees
 * @typedef {{ file: string, width: number, height: number, faces: Face[] }} Photo
 */

const SVG = "http://www.w3.org/2000/svg";
// First and last landmark of each curve, whether it is closed, and its group.
/** @type {[number, number, boolean, string][]} */
const CURVES = [
  [0, 16, false, "contour"],
  [17, 21, false, "brows"],
  [22, 26, false, "brows"],
  [27, 30, false, "nose"],
  [31, 35, false, "nose"],
  [36, 41, true, "eyes"],
  [42, 47, true, "eyes"],
  [48, 59, true, "mouth"],
  [60, 67, true, "mouth"],
];
const NOSE_TIP = 30;

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 * @param {Element} parent
 */
function make(name, attributes, parent) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  parent.append(element);
  return element;
}

/**
 * The head's axes in the image (x right, y down), of length 1 when they lie in its plane.
 * @param {Pose} pose
 */
export function poseAxes({ yaw, pitch, roll }) {
  const [a, b, c] = [yaw, -pitch, -roll].map((degrees) => (degrees * Math.PI) / 180);
  const turned = (/** @type {number[]} */ [x, y, z]) => {
    const [x1, z1] = [x * Math.cos(a) + z * Math.sin(a), z * Math.cos(a) - x * Math.sin(a)];
    const y2 = y * Math.cos(b) - z1 * Math.sin(b);
    return [x1 * Math.cos(c) - y2 * Math.sin(c), -(x1 * Math.sin(c) + y2 * Math.cos(c))];
  };
  return { right: turned([1, 0, 0]), up: turned([0, 1, 0]), forward: turned([0, 0, 1]) };
}

// A landmark is the centre of a pixel, which lies half a pixel from the pixel's corner.
const placed = (/** @type {number[]} */ [x, y]) => [x + 0.5, y + 0.5];

/**
 * @param {Face} face
 * @param {Record<string, Element>} layers
 * @param {number} radius
 */
function drawPoints(face, layers, radius) {
  const dot = { r: radius, "stroke-width": radius / 4 };
  for (const [first, last, closed, group] of CURVES) {
    const points = face.landmarks.slice(first, last + 1).map(placed);
    const path = closed ? [...points, points[0]] : points;
    make("polyline", { class: group, points: path.map((point) => point.join(",")).join(" ") }, layers.lines);
    for (const [cx, cy] of points) make("circle", { ...dot, class: group, cx, cy }, layers.points);
  }
}

/**
 * @param {Face} face
 * @param {Element} layer
 * @param {number} length
 */
function drawPose(face, layer, length) {
  if (!face.pose) return;
  const [x, y] = placed(face.landmarks[NOSE_TIP]);
  for (const [name, [dx, dy]] of Object.entries(poseAxes(face.pose))) {
    make("line", { class: `axis ${name}`, x1: x, y1: y, x2: x + length * dx, y2: y + length * dy }, layer);
  }
}

/**
 * @param {Element} svg
 * @param {Photo} photo
 * @param {number} scale screen pixels of a pixel of the photo
 * @param {number} chosen index of a face
 * @param {(index: number) => void} choose called with another one
 */
export function draw(svg, { width, height, faces }, scale, chosen, choose) {
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  /** @type {Record<string, Element>} */
  const layers = {};
  for (const name of ["box", "lines", "pose", "points"]) layers[name] = make("g", { class: `g-${name}` }, svg);
  faces.forEach((face, index) => {
    const [x1, y1, x2, y2] = face.box;
    const side = Math.max(x2 - x1, y2 - y1);
    const kind = `box${face.doubtful ? " doubtful" : ""}${index === chosen ? " chosen" : ""}`;
    const frame = make("rect", { class: kind, x: x1 + 0.5, y: y1 + 0.5, width: x2 - x1, height: y2 - y1 }, layers.box);
    frame.addEventListener("click", () => choose(index));
    if (faces.length > 1) {
      const size = 15 / scale;
      const label = make("text", { x: x1 + 0.5, y: Math.max(size, y1 - size / 3), "font-size": size }, layers.box);
      label.textContent = String(index + 1);
    }
    const radius = Math.min(4, Math.max(1.1, (side * scale) / 90)) / scale;
    drawPoints(face, layers, radius);
    drawPose(face, layers.pose, side / 3);
  });
}
