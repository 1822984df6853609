// @ts-check
// Images: sampling, and resizing with the arithmetic of OpenCV's cv2.resize, so that networks see the same pixels.

/**
 * Pixels row by row, four bytes each: red, green, blue, and one that is not used; as ImageData has them.
 * @typedef {{ width: number, height: number, data: Uint8ClampedArray }} Image
 */

/**
 * The nearest whole number, halves to the even one, as Python and OpenCV round.
 * @param {number} value
 */
export function rounded(value) {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}

/**
 * Red, green and blue at a place between pixels, into out[at ...]; bilinear, black outside the image.
 * @param {Image} image
 * @param {number} x
 * @param {number} y
 * @param {Uint8ClampedArray | Float32Array} out
 * @param {number} at
 */
export function bilinear({ data, width, height }, x, y, out, at) {
  const [left, top] = [Math.floor(x), Math.floor(y)];
  const [right, lower] = [x - left, y - top];
  let [red, green, blue] = [0, 0, 0];
  for (let row = 0; row < 2; row++) {
    if (top + row < 0 || top + row >= height) continue;
    for (let column = 0; column < 2; column++) {
      if (left + column < 0 || left + column >= width) continue;
      const weight = (row ? lower : 1 - lower) * (column ? right : 1 - right);
      const from = 4 * ((top + row) * width + left + column);
      red += weight * data[from];
      green += weight * data[from + 1];
      blue += weight * data[from + 2];
    }
  }
  out[at] = red;
  out[at + 1] = green;
  out[at + 2] = blue;
}

/**
 * A part of an image; x2, y2: exclusive.
 * @param {Image} image
 * @param {number} x1
 * @param {number} y1
 * @param {number} x2
 * @param {number} y2
 * @returns {Image}
 */
export function cropped(image, x1, y1, x2, y2) {
  const [width, height] = [x2 - x1, y2 - y1];
  const data = new Uint8ClampedArray(4 * width * height);
  for (let row = 0; row < height; row++) {
    const from = 4 * ((y1 + row) * image.width + x1);
    data.set(image.data.subarray(from, from + 4 * width), 4 * width * row);
  }
  return { width, height, data };
}

/**
 * An image reduced by a whole factor, each pixel the mean of a block; the last blocks are padded with black.
 * @param {Image} image
 * @param {number} factor side of a block, pixels
 * @returns {Image}
 */
export function blockAverage(image, factor) {
  const [width, height] = [Math.ceil(image.width / factor), Math.ceil(image.height / factor)];
  const data = new Uint8ClampedArray(4 * width * height);
  const sums = new Uint32Array(4 * width);
  const whole = factor === 2 ? (/** @type {number} */ sum) => (sum + 2) >> 2 : (/** @type {number} */ sum) => sum / factor ** 2;
  for (let row = 0; row < height; row++) {
    sums.fill(0);
    const last = Math.min((row + 1) * factor, image.height);
    for (let y = row * factor; y < last; y++) {
      let from = 4 * y * image.width;
      for (let x = 0; x < image.width; x++, from += 4) {
        const to = 4 * Math.floor(x / factor);
        sums[to] += image.data[from];
        sums[to + 1] += image.data[from + 1];
        sums[to + 2] += image.data[from + 2];
      }
    }
    for (let index = 0; index < sums.length; index++) data[4 * width * row + index] = whole(sums[index]);
  }
  return { width, height, data };
}

/**
 * An image resized as by cv2.resize with INTER_LINEAR: in whole numbers, weights being multiples of 1/2048.
 * @param {Image} image
 * @param {number} width
 * @param {number} height
 * @returns {Image}
 */
export function resized(image, width, height) {
  if (width === image.width && height === image.height) return image;
  if (2 * width === image.width && 2 * height === image.height) return blockAverage(image, 2);
  const columns = taps(width, image.width, true);
  const rows = taps(height, image.height, false);
  const data = new Uint8ClampedArray(4 * width * height);
  const lines = [new Int32Array(4 * width), new Int32Array(4 * width)];
  const held = [-1, -1]; // rows of the image that `lines` hold
  const line = (/** @type {number} */ y) => {
    const slot = y & 1;
    if (held[slot] !== y) {
      held[slot] = y;
      alongRow(image, y, columns, lines[slot]);
    }
    return lines[slot];
  };
  for (let row = 0, at = 0; row < height; row++) {
    const [upper, lower] = [line(rows.first[row]), line(rows.second[row])];
    const [above, below] = [rows.near[row], rows.far[row]];
    for (let index = 0; index < upper.length; index++, at++) {
      data[at] = ((((upper[index] >> 4) * above) >> 16) + (((lower[index] >> 4) * below) >> 16) + 2) >> 2;
    }
  }
  return { width, height, data };
}

/**
 * @typedef {{ first: Int32Array, second: Int32Array, near: Int32Array, far: Int32Array }} Taps
 * Two pixels of each new one, along an axis, and their weights times 2048.
 */

/**
 * @param {number} count new pixels
 * @param {number} before pixels before
 * @param {boolean} single whether at the ends one pixel has all the weight; else it is taken twice, and rounded so
 * @returns {Taps}
 */
function taps(count, before, single) {
  const [first, second, near, far] = [0, 1, 2, 3].map(() => new Int32Array(count));
  for (let index = 0; index < count; index++) {
    const place = Math.fround((index + 0.5) * (before / count) - 0.5);
    const low = Math.floor(place);
    const part = single && (low < 0 || low >= before - 1) ? 0 : Math.fround(place - low);
    [first[index], second[index]] = [low, low + 1].map((one) => Math.min(Math.max(one, 0), before - 1));
    [near[index], far[index]] = [rounded(Math.fround(1 - part) * 2048), rounded(part * 2048)];
  }
  return { first, second, near, far };
}

/**
 * @param {Image} image
 * @param {number} y
 * @param {Taps} columns
 * @param {Int32Array} out
 */
function alongRow({ data, width }, y, { first, second, near, far }, out) {
  const start = 4 * y * width;
  for (let column = 0; column < first.length; column++) {
    const [left, right] = [start + 4 * first[column], start + 4 * second[column]];
    for (let channel = 0; channel < 3; channel++) {
      out[4 * column + channel] = data[left + channel] * near[column] + data[right + channel] * far[column];
    }
  }
}

/**
 * An image turned by quarters, counterclockwise on the screen, as numpy.rot90 turns it.
 * @param {Image} image
 * @param {number} turns 1 to 3
 * @returns {Image}
 */
export function quarterTurned({ data, width, height }, turns) {
  const swapped = turns % 2 === 1;
  const [newWidth, newHeight] = swapped ? [height, width] : [width, height];
  const from = new Uint32Array(data.buffer, data.byteOffset, width * height);
  const to = new Uint32Array(width * height);
  for (let y = 0, at = 0; y < newHeight; y++) {
    for (let x = 0; x < newWidth; x++, at++) {
      const [column, row] = turnedBack([x, y], turns, width, height);
      to[at] = from[row * width + column];
    }
  }
  return { width: newWidth, height: newHeight, data: new Uint8ClampedArray(to.buffer) };
}

/**
 * A point of an image turned by quarters, in the image of that width and height.
 * @param {readonly [number, number]} point
 * @param {number} turns 1 to 3
 * @param {number} width
 * @param {number} height
 * @returns {[number, number]}
 */
export function turnedBack([x, y], turns, width, height) {
  if (turns === 1) return [width - 1 - y, x];
  if (turns === 2) return [width - 1 - x, height - 1 - y];
  return [y, height - 1 - x];
}
