"""Headless Chromium, that of the system, driven by Playwright."""

import contextlib
import shutil

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
