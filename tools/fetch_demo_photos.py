"""Write the photos of `make demo`, which come with a package and are in no training set.

scikit-image's `astronaut`: Eileen Collins, NASA, in the public domain.
"""

import argparse
from pathlib import Path

import cv2

from facealign.console import run
from facealign.errors import FaceAlignError
from facealign.io.atomic import replacing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=Path("build/demo/photos"), metavar="DIR")
    arguments = parser.parse_args()
    try:
        from skimage.data import astronaut
    except ImportError as error:
        raise FaceAlignError("scikit-image is not installed; pip install 'facealign[demo]'") from error
    path = arguments.output / "astronaut.png"
    with replacing(path) as partial:
        if not cv2.imwrite(str(partial), cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR)):
            raise FaceAlignError(f"{path}: cannot be written")
    print(path)


if __name__ == "__main__":
    run(main)
