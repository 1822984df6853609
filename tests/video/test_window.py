"""The window, where there is a display: a virtual one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from facealign.errors import FaceAlignError
from facealign.video.window import Window

ROOT = Path(__file__).parents[2]
SHOWS = (
    "import cv2, numpy as np\n"
    "from facealign.video.window import Window\n"
    "with Window() as window:\n"
    "    for side in (100, 3000):\n"
    "        window.show(np.full((side, side, 3), 90, np.uint8))\n"
    "    assert window.is_open\n"
    "    x, y, width, height = cv2.getWindowImageRect('facealign')\n"
    "    assert min(width, height) > 50, (width, height)\n"
    "window.show(np.zeros((9, 9, 3), np.uint8))\n"
    "print('shown', window.is_open)\n"
)


@pytest.mark.parametrize("display", ["", ":97"])
def test_without_a_display_it_is_an_error(display, monkeypatch):
    """Also where one is named that is not there, at which Qt ends the process."""
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", display)
    with pytest.raises(FaceAlignError, match="no display for a window") as caught:
        Window()
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="needs xvfb-run")
def test_it_shows_images_until_it_is_closed():
    done = subprocess.run(
        ["xvfb-run", "--auto-servernum", sys.executable, "-c", SHOWS],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "shown False\n", done.stderr
