"""A window that shows frames while they are made, where there is a display."""

import os
from types import TracebackType

import cv2
import numpy as np

from facealign.arrays import Image
from facealign.concurrency.apart import apart
from facealign.errors import FaceAlignError

TITLE = "facealign"
LONGEST = 1280
"""Longer side of what is shown, pixels."""
QUIT = {ord("q"), 27}
"""Keys that close the window: q and Escape."""
SECONDS = 20.0
"""For which a display may take to answer."""


class Window:
    """Shows images until it is closed."""

    def __init__(self, shut: bool = False) -> None:
        """shut: a window that never opens. Raises FaceAlignError when there is no display."""
        self.shut, self.is_open = shut, False
        if shut:
            return
        if not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")):
            raise FaceAlignError("no display for a window: DISPLAY is not set")
        # A window system may end the process that it does not like.
        try:
            apart(_try, seconds=SECONDS)
        except Exception as error:
            raise FaceAlignError(f"no display for a window: {error}") from error
        self.is_open = True

    def __enter__(self) -> "Window":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def show(self, image: Image) -> None:
        """Show an image (h, w, 3), if the window is open. A key of QUIT closes it."""
        if not self.is_open:
            return
        scale = LONGEST / max(image.shape[:2])
        if scale < 1:
            small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            image = np.asarray(small, dtype=np.uint8)
        cv2.imshow(TITLE, image)
        if cv2.waitKey(1) & 0xFF in QUIT:
            self.close()

    def close(self) -> None:
        """Close the window."""
        if self.is_open:
            self.is_open = False
            cv2.destroyAllWindows()


def _try() -> None:
    cv2.imshow(TITLE, np.zeros((8, 8, 3), np.uint8))
    cv2.waitKey(1)
    cv2.destroyAllWindows()
