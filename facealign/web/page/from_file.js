// @ts-check
// Not a module: browsers run none from a file, and say so only where nobody looks.

if (location.protocol === "file:") {
  document.addEventListener("DOMContentLoaded", () => {
    const error = /** @type {HTMLElement} */ (document.getElementById("error"));
    error.textContent = "Browsers do not run this page from a file. Serve its folder: python3 -m http.server";
    error.hidden = false;
  });
}
