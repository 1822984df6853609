"""The page of `make web` in headless Chromium against the package: points, time, weight, camera.

    python -m benchmarks.web_page [--page out/web] [PHOTO OR FOLDER ...]

Without photos: scikit-image's astronaut, at 512, 1024 and 2048 pixels. A time is the least of some runs, from
the file's bytes to the faces; those of the package are with ONNX in OpenCV, on all cores.
"""

import argparse
import base64
import functools
import gzip
import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from playwright.sync_api import Page, sync_playwright
from skimage.data import astronaut

from facealign.geometry.boxes import landmark_box, overlap
from facealign.inference.face_aligner import Face, FaceAligner
from facealign.io.images import SUFFIXES, read_image

SAME_FACE = 0.5
ASK = """async ({ data, options }) => {
    window.worker ??= new Worker(URL.createObjectURL(new Blob(
        [`import ${JSON.stringify(new URL("static/worker.js", location.href).href)};`],
        { type: "text/javascript" })), { type: "module" });
    const ask = (message) => new Promise((resolve) => {
        worker.onmessage = (event) => resolve(event.data);
        worker.postMessage(message);
    });
    await ask({ task: "open", options });
    const blob = new Blob([Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0))]);
    const start = performance.now();
    const answer = await ask({ task: "photo", blob, name: "photo", options });
    return { ...answer, seconds: (performance.now() - start) / 1000 };
}"""
COUNT = """async (seconds) => {
    let count = 0;
    const observer = new MutationObserver(() => (count += 1));
    observer.observe(document.getElementById("faces"), { childList: true });
    await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
    observer.disconnect();
    return count / seconds;
}"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and logs nothing."""

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@contextmanager
def page_of(folder: Path, film: Path) -> Iterator[Page]:
    """The page in a browser whose camera shows a film."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    fake = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=[*fake, f"--use-file-for-fake-video-capture={film}"],
        )
        try:
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
            yield page
        finally:
            browser.close()
            server.shutdown()


def apart(found: Sequence[dict[str, Any]], faces: Sequence[Face]) -> tuple[list[float], int]:
    """How far landmarks of the faces that both found lie apart at most, pixels; number of other faces."""
    distances, others = [], len(found)
    for face in faces:
        own = landmark_box(face.landmarks)
        same = [np.array(one["landmarks"]) for one in found]
        same = [one for one in same if overlap(own, landmark_box(one)) >= SAME_FACE]
        if not same:
            others += 1
            continue
        others -= 1
        distances.append(min(float(np.linalg.norm(one - face.landmarks, axis=1).max()) for one in same))
    return distances, others


def photos(given: Sequence[Path], folder: Path) -> list[Path]:
    """The photos given, or some that are made in a folder."""
    if given:
        files = [file for path in given for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
        return [file for file in files if file.suffix.lower() in SUFFIXES]
    made = []
    for side in (512, 1024, 2048):
        made.append(folder / f"astronaut_{side}.png")
        image = cv2.resize(astronaut()[:, :, ::-1], (side, side), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(made[-1]), image)
    return made


def film_of(folder: Path) -> Path:
    """A film of the astronaut, 640x480, 30 frames a second."""
    image = cv2.resize(np.ascontiguousarray(astronaut()[:384, :, ::-1]), (640, 480))
    film = folder / "film.y4m"
    frame = b"FRAME\n" + cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).tobytes()
    film.write_bytes(b"YUV4MPEG2 W640 H480 F30:1 Ip A0:0 C420\n" + frame * 30)
    return film


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", nargs="*", type=Path, metavar="PHOTO", help="files and folders")
    parser.add_argument("--page", type=Path, default=Path("out/web"), metavar="DIR", help="default: out/web")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="of each photo (default: 3)")
    parser.add_argument("--cascade", action="store_true", help="refine by the second network")
    parser.add_argument("--flip", action="store_true", help="average with the mirror image")
    parser.add_argument(
        "--seconds", type=float, default=10.0, metavar="N", help="of the camera (default: 10)"
    )
    arguments = parser.parse_args()
    if not (arguments.page / "index.html").is_file():
        sys.exit(f"{arguments.page}: no page; run `make web`")
    files = [path for path in arguments.page.rglob("*") if path.is_file()]
    plain = sum(path.stat().st_size for path in files)
    packed = sum(len(gzip.compress(path.read_bytes())) for path in files)
    print(f"page: {len(files)} files, {plain / 1e6:.1f} MB, gzipped {packed / 1e6:.1f} MB")
    options = {"cascade": arguments.cascade, "flip": arguments.flip}
    aligner = FaceAligner.open(engine="onnx", **options)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with page_of(arguments.page, film_of(folder)) as page:
            compare(page, aligner, photos(arguments.photos, folder), options, arguments.runs)
            page.click("#camera")
            page.locator(".face").wait_for()
            print(f"camera: {page.evaluate(COUNT, arguments.seconds):.1f} frames a second at 640x480")


def compare(
    page: Page, aligner: FaceAligner, files: Sequence[Path], options: dict[str, bool], runs: int
) -> None:
    """Print a line for each photo, and a summary."""
    ratios: list[float] = []
    distances: list[float] = []
    unlike = 0
    for file in files:
        data = file.read_bytes()
        times: dict[str, list[float]] = {"page": [], "package": []}
        for _ in range(runs):
            answer = page.evaluate(ASK, {"data": base64.b64encode(data).decode(), "options": options})
            times["page"].append(answer["seconds"])
            start = time.perf_counter()
            image = read_image(file)
            faces = aligner.detect_and_align(image)
            times["package"].append(time.perf_counter() - start)
        if "error" in answer:
            print(f"{file.name}: {answer['error']}")
            continue
        own, others = apart(answer["result"]["faces"], faces)
        unlike += others
        distances += own
        here, there = min(times["page"]), min(times["package"])
        ratios.append(here / there)
        height, width = image.shape[:2]
        print(
            f"{file.name}: {width}x{height}, {len(faces)} faces, {others} unlike, "
            f"apart {max(own, default=0.0):.4f} px, {1000 * here:.0f} ms and {1000 * there:.0f} ms, "
            f"ratio {here / there:.1f}"
        )
    if not distances:
        return
    summary = {
        "photos": len(ratios),
        "faces": len(distances),
        "faces that only one found": unlike,
        "farthest landmark, px": {
            "median face": round(float(np.median(distances)), 4),
            "99 %": round(float(np.percentile(distances, 99)), 4),
            "worst": round(max(distances), 4),
        },
        "time over the package's, median": round(float(np.median(ratios)), 2),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
