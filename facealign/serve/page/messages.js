// @ts-check
// What the page says: how it goes on, and what is wrong.

/** @type {(id: string) => any} */
const by = (id) => document.getElementById(id);

/** An error with what to do about it. */
export class Problem extends Error {
  /**
   * @param {string} error
   * @param {string} [remedy]
   */
  constructor(error, remedy = "") {
    super(error);
    this.remedy = remedy;
  }
}

/** @param {string} text */
export function say(text) {
  by("status").textContent = text;
}

/**
 * @param {string} error none: what was wrong no longer is
 * @param {string} [remedy]
 */
export function complain(error, remedy = "") {
  by("error").textContent = [error, remedy].filter(Boolean).join(" ");
  by("error").hidden = !error;
  if (error) say("");
}
