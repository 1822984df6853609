"""What the tests of both pages do: that of `facealign serve`, and that of `make web`."""

import base64

import cv2
import numpy as np
from skimage.data import astronaut

DROP = """named => {
    const transfer = new DataTransfer();
    for (const [name, data] of Object.entries(named)) {
        const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
        const type = name.endsWith(".png") ? "image/png" : "text/plain";
        transfer.items.add(new File([bytes], name, { type }));
    }
    return transfer;
}"""
CENTRES = """circles => circles.map(circle => {
    const [at, photo] = [circle, document.getElementById("photo")].map(one => one.getBoundingClientRect());
    return [at.x + at.width / 2 - photo.x, at.y + at.height / 2 - photo.y];
})"""


def choose(page, data, name="photo.png"):
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": data})
    page.locator("#result:not([hidden]), #error:not([hidden])").first.wait_for()


def drop(page, files):
    """Drop files, bytes by name, on the page."""
    named = {name: base64.b64encode(data).decode() for name, data in files.items()}
    page.dispatch_event("#drop", "drop", {"dataTransfer": page.evaluate_handle(DROP, named)})


def two_faces():
    image = np.hstack([astronaut()[:, :, ::-1], astronaut()[:, ::-1, ::-1]])
    return cv2.imencode(".png", image)[1].tobytes()


def shown_points(page, width):
    """Centres of the circles over the photo, in 0-based pixels of the photo, which is `width` pixels wide."""
    on_screen = np.array(page.eval_on_selector_all("#overlay circle", CENTRES))
    return on_screen * (width / page.locator("#photo").bounding_box()["width"]) - 0.5
