"""Build the page that runs wholly in the browser: a folder of files for any web server; docs/web.md."""

import argparse
from pathlib import Path

from facealign.console import run
from facealign.inference.model_zoo import default_cascade, default_weights
from facealign.io.atomic import replacing
from facealign.io.outputs import check_outputs
from facealign.web.build import build, check_replaceable
from facealign.web.npm import packages


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("out/web"), metavar="DIR", help="of the page")
    parser.add_argument(
        "--packages", type=Path, default=Path("build/npm"), metavar="DIR", help="where npm puts its packages"
    )
    parser.add_argument("--weights", type=Path, metavar="ONNX", help="default: the newest stage in models/")
    parser.add_argument("--cascade", type=Path, metavar="ONNX", help="default: the one in models/")
    return parser.parse_args()


def main() -> None:
    arguments = arguments_of()
    output = arguments.output
    check_outputs(folders=[output, arguments.packages])
    check_replaceable(output)
    weights = arguments.weights or default_weights("onnx")
    cascade = arguments.cascade or default_cascade("onnx")
    node_modules = packages(arguments.packages)
    with replacing(output) as partial:
        build(partial, weights, cascade, node_modules)
    sizes = [path.stat().st_size for path in output.rglob("*") if path.is_file()]
    print(f"{output}: {len(sizes)} files, {sum(sizes) / 1e6:.1f} MB; any web server will do, such as")
    print(f"  python3 -m http.server --bind 127.0.0.1 --directory {output}")
    print("then open http://127.0.0.1:8000")


if __name__ == "__main__":
    run(main)
