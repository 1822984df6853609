// @ts-check
// What is said of the faces beside the photo, and of photos.

/** @typedef {import("./overlay.js").Face} Face */

const degrees = (/** @type {number} */ value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(1)}°`;

/**
 * @param {string} name
 * @param {string} value
 */
function figure(name, value) {
  const span = document.createElement("span");
  span.append(`${name} `, Object.assign(document.createElement("b"), { textContent: value }));
  return span;
}

/**
 * The entry of a face in the list.
 * @param {Face} face
 * @param {number} index
 * @param {(index: number) => void} choose called when it is clicked
 */
export function faceCard(face, index, choose) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "face";
  const title = document.createElement("strong");
  title.textContent = `Face ${index + 1}`;
  if (face.doubtful) {
    const doubt = document.createElement("em");
    doubt.className = "doubt";
    doubt.textContent = " doubtful";
    title.append(doubt);
  }
  button.append(title);
  if (face.score !== null) button.append(figure("score", face.score.toFixed(3)));
  button.append(figure("confidence", face.confidence.toFixed(2)), document.createElement("i"));
  for (const [name, value] of Object.entries(face.pose ?? {})) button.append(figure(name, degrees(value)));
  button.addEventListener("click", () => choose(index));
  const item = document.createElement("li");
  item.append(button);
  return item;
}

/** @param {number} number */
export function countText(number) {
  return number === 0 ? "No face found" : number === 1 ? "1 face" : `${number} faces`;
}

/**
 * @param {number} number of files beside the photo that was opened
 */
export function passedOver(number) {
  if (number === 0) return "";
  return ` One photo at a time: ${number === 1 ? "1 other file was" : `${number} other files were`} not opened.`;
}

/** @param {import("./app.js").Limits} limits */
export function limitsText({ max_bytes, max_pixels, max_side }) {
  const millions = (/** @type {number} */ number) =>
    (number / 1e6).toLocaleString("en", { maximumSignificantDigits: 3 });
  const parts = [`${millions(max_pixels)} megapixels`];
  if (max_bytes) parts.unshift(`${millions(max_bytes)} MB`);
  if (max_side) parts.push(`${max_side.toLocaleString("en")} pixels a side`);
  return `At most ${parts.join(" and ")}.`;
}
