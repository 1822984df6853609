"""The one-euro filter of Casiez, Roussel and Vogel (CHI 2012), for the landmarks of a face.

A low-pass filter whose cutoff frequency rises with speed: a still face does not tremble, a moving one is
followed with little lag.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from facealign.arrays import FloatArray

SHORTEST = 1e-3
"""Seconds between two frames, at least: some files give two the same time."""


@dataclass(frozen=True)
class OneEuroSettings:
    """Settings of the filter, by the names of its paper.

    min_cutoff: cutoff frequency at rest, Hz: lower means less jitter and, in slow movements, more lag; beta:
    rise of the cutoff frequency with the speed, Hz per face size a second: higher means less lag;
    derivative_cutoff: cutoff frequency of the speed's own low-pass filter, Hz.
    """

    min_cutoff: float = 1.0
    beta: float = 10.0
    derivative_cutoff: float = 1.0

    def __post_init__(self) -> None:
        """Raises ValueError on a setting out of range."""
        for name, value in (("min_cutoff", self.min_cutoff), ("derivative_cutoff", self.derivative_cutoff)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}, expected a frequency above 0")
        if not 0 <= self.beta < math.inf:
            raise ValueError(f"beta is {self.beta}, expected 0 or more")


class OneEuroFilter:
    """Filters the points of one face, each by its own speed, measured in face sizes a second.

    >>> smooth = OneEuroFilter(OneEuroSettings(min_cutoff=1.0, beta=0.0))
    >>> smooth(np.zeros((1, 2)), time=0.0, size=100.0)
    array([[0., 0.]])
    >>> smooth(np.ones((1, 2)), time=0.04, size=100.0).round(3)
    array([[0.201, 0.201]])
    """

    def __init__(self, settings: OneEuroSettings) -> None:
        self.settings = settings
        self._time = 0.0
        self._points: FloatArray | None = None
        self._speed: FloatArray | None = None

    def __call__(self, points: FloatArray, time: float, size: float) -> FloatArray:
        """The filtered points (n, 2) of a frame.

        points: (n, 2), pixels; time: of the frame, seconds; size: of the face, pixels, above 0. With the
        period T between two frames, and alpha(c) = 1 / (1 + 1 / (2 pi c T)): the speed (point - last filtered
        point) / T is filtered by alpha(derivative_cutoff), the point by alpha(min_cutoff + beta * speed).
        """
        if self._points is None or self._speed is None:
            self._points, self._speed = points.copy(), np.zeros_like(points)
        else:
            period = max(time - self._time, SHORTEST)
            speed = (points - self._points) / period
            self._speed = self._speed + _alpha(self.settings.derivative_cutoff, period) * (
                speed - self._speed
            )
            pace = np.linalg.norm(self._speed, axis=-1, keepdims=True) / size
            alpha = _alpha(self.settings.min_cutoff + self.settings.beta * pace, period)
            self._points = self._points + alpha * (points - self._points)
        self._time = time
        return self._points.copy()

    def state(self) -> dict[str, Any]:
        """All that the filter remembers, as JSON holds it; see `restored`."""
        lists = [None if values is None else values.tolist() for values in (self._points, self._speed)]
        return {"time": self._time, "points": lists[0], "speed": lists[1]}

    @classmethod
    def restored(cls, settings: OneEuroSettings, state: dict[str, Any]) -> "OneEuroFilter":
        """A filter that goes on where another gave this `state`."""
        made = cls(settings)
        made._time = float(state["time"])
        made._points, made._speed = (
            None if state[name] is None else np.array(state[name], dtype=np.float64)
            for name in ("points", "speed")
        )
        return made


def _alpha(cutoff: Any, period: float) -> Any:
    """Weight of a new sample in a low-pass filter of a cutoff frequency, Hz, for a period, seconds."""
    return 1.0 / (1.0 + 1.0 / (2.0 * math.pi * cutoff * period))
