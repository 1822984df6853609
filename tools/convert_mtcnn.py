"""Write MTCNN's three nets as prototxt, caffemodel and ONNX, for use outside this project."""

import argparse
from pathlib import Path

from facealign.console import run
from facealign.detection.mtcnn_weights import write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/mtcnn"), metavar="DIR")
    arguments = parser.parse_args()
    write(arguments.output)
    print(f"{arguments.output}: {', '.join(sorted(path.name for path in arguments.output.iterdir()))}")


if __name__ == "__main__":
    run(main)
