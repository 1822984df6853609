"""Headless Chromium, that of the system, driven by Playwright."""

import contextlib
import shutil

import cv2
import numpy as np
from playwright.sync_api import sync_playwright

PATIENCE = 300_000
"""Milliseconds to start, for a machine with much else to do."""


@contextlib.contextmanager
def chromium(*arguments):
    """A browser."""
    program = shutil.which("chromium")
    assert program, "chromium is missing; make deps FOR=dev"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=arguments, timeout=PATIENCE)
        try:
            yield started
        finally:
            started.close()


@contextlib.contextmanager
def opened_page(browser, url, width=1280, height=900, scheme="light"):
    """A page of a browser in a window of that size, and a list of all that it complains of."""
    complaints = []
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    context.set_default_timeout(120_000)
    try:
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
        page.goto(url)
        yield page, complaints
    finally:
        context.close()


def camera_that_sees(image, folder):
    """Arguments for `chromium`: its camera sees an image (h, w, 3) of even sides, a file in `folder`."""
    frame = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_BGR2YUV_I420)
    film = folder / "camera.y4m"
    head = f"YUV4MPEG2 W{image.shape[1]} H{image.shape[0]} F10:1 Ip A0:0 C420\n".encode()
    film.write_bytes(head + (b"FRAME\n" + frame.tobytes()) * 10)
    fake = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    return (*fake, f"--use-file-for-fake-video-capture={film}")
