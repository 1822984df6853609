"""Find faces in images, a video or a camera's picture: box, 68 landmarks and head pose.

Writes each image, or the video, with its faces drawn on it, and landmarks.json, in 0-based pixels of the
original. While it runs, results are in landmarks.jsonl, an image or frame a line: if it is stopped, even by
kill -9, the same command goes on where it was.
"""

import argparse
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from facealign.commands import (
    add_network_options,
    add_scheduler,
    add_strict,
    name_options,
    place,
    program,
)
from facealign.commands.align_images import align_images
from facealign.commands.align_setup import detector_settings, smoothing_of
from facealign.commands.align_video import align_video
from facealign.commands.messages import resumable
from facealign.errors import FaceAlignError
from facealign.inference.face_aligner import TURNS
from facealign.io.lock import exclusive
from facealign.io.outputs import check_outputs
from facealign.results.formats import FORMATS
from facealign.video.one_euro import OneEuroSettings

EXAMPLES = (
    "align photo.jpg holiday/ 'scans/**/*.tif' --output out",
    "align holiday/ --cascade --flip --format csv --no-pictures --max-faces 1",
    "align photos/ --boxes boxes/ --weights models/mobilenet_v2_stage2.onnx",
    "align --video talk.mp4 --output out  # out/talk.mp4, landmarks.json",
    "align --video 0 --show               # a camera, until Ctrl-C",
    "align s3://bucket/photos --no-pictures --format jsonl --scheduler tcp://host:8786",
)
"""Command lines that its help shows."""


def options() -> argparse.ArgumentParser:
    """The parser of its command line."""
    parser = program(__doc__, EXAMPLES, json="the numbers of images or frames, and of faces,")
    _add_inputs(parser.add_argument_group("input"))
    _add_outputs(parser.add_argument_group("output"))
    _add_faces(parser.add_argument_group("faces"))
    add_network_options(parser.add_argument_group("network"))
    _add_video(parser.add_argument_group("video"))
    add_scheduler(parser.add_argument_group("speed"))
    return parser


def arguments_of(command: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = options()
    arguments = parser.parse_args(command)
    arguments.images = [*arguments.paths, *arguments.images]
    _check(parser, arguments)
    return arguments


def _add_inputs(group: Any) -> None:
    group.add_argument(
        "paths",
        type=place,
        nargs="*",
        metavar="DIR|FILE|PATTERN",
        help="images, folders with all below them, patterns such as 'photos/**/*.jpg'; or of s3://",
    )
    group.add_argument(
        "--images",
        type=place,
        nargs="+",
        default=[],
        metavar="DIR|FILE|PATTERN",
        help="the same, as an option",
    )
    group.add_argument("--video", metavar="FILE|N", help="a video file instead, or camera N: 0 is the first")
    group.add_argument(
        "--boxes",
        type=Path,
        metavar="DIR",
        help="take boxes from DIR/NAME.txt (1-based `x1 y1 x2 y2`, one face per line) instead of detecting",
    )
    add_strict(group, "image")


def _add_outputs(group: Any) -> None:
    group.add_argument(
        "--output", type=Path, default=Path("out"), metavar="DIR", help="folder for the results"
    )
    group.add_argument(
        "--format",
        choices=FORMATS,
        default="json",
        help="of the results: landmarks.json, landmarks.jsonl, landmarks.csv with a line for each "
        "landmark, or pts/ with 300-W's .pts files beside links to the images, for make-lmdb",
    )
    group.add_argument("--no-pictures", action="store_true", help="draw nothing: results only, and faster")
    group.add_argument(
        "--montage", action="store_true", help="contact sheets of all images, or of frames, in montage/"
    )
    group.add_argument("--show", action="store_true", help="a window with what is drawn; q closes it")


def _add_faces(group: Any) -> None:
    group.add_argument(
        "--max-faces", type=int, metavar="N", help="the N largest faces of an image (default: all)"
    )
    group.add_argument(
        "--min-face",
        type=float,
        metavar="PIXELS",
        help="side of the smallest square in which MTCNN searches for a face (default: 40); "
        "the box that it then fits to the face may be smaller",
    )
    group.add_argument(
        "--min-score", type=float, metavar="S", help="lowest score of the detector, 0 to 1 (default: 0.7)"
    )
    group.add_argument(
        "--turns",
        choices=TURNS,
        default="auto",
        help="search each image turned by quarters too, for faces on their side or upside down; auto: when "
        "no face is found upright, or one is doubtful",
    )


def _add_video(group: Any) -> None:
    usual = OneEuroSettings()
    group.add_argument(
        "--detect-every",
        type=int,
        default=10,
        metavar="N",
        help="frames between two runs of the detector, which also runs when a face is lost",
    )
    group.add_argument("--no-smoothing", action="store_true", help="landmarks as predicted in each frame")
    group.add_argument(
        "--min-cutoff",
        type=float,
        default=usual.min_cutoff,
        metavar="HZ",
        help="one-euro filter: cutoff at rest; lower: less jitter",
    )
    group.add_argument(
        "--beta",
        type=float,
        default=usual.beta,
        metavar="B",
        help="rise of the cutoff with the speed in face sizes a second; higher: less lag",
    )
    group.add_argument(
        "--derivative-cutoff",
        type=float,
        default=usual.derivative_cutoff,
        metavar="HZ",
        help="cutoff for the speed",
    )


def _check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """End with the usage where options contradict each other or are out of range."""
    if not arguments.images and arguments.video is None:
        parser.error("no images given")
    if arguments.images and arguments.video is not None:
        parser.error("--video: give images or a video, not both")
    if arguments.boxes is not None:
        for option in ("video", "min_face", "min_score"):
            if getattr(arguments, option) is not None:
                parser.error(f"--boxes: no detector runs; leave out --{option.replace('_', '-')}")
    if arguments.video is not None and arguments.video.isdecimal() and arguments.montage:
        parser.error("--montage: a camera's frames are not kept; give a video file")
    if arguments.scheduler is not None and (arguments.video is not None or arguments.show):
        parser.error("--scheduler: for images, without --video and --show")
    for option in ("max_faces", "detect_every"):
        value = getattr(arguments, option)
        if value is not None and value < 1:
            parser.error(f"--{option.replace('_', '-')}: expected 1 or more")
    try:
        smoothing_of(arguments)
        detector_settings(arguments)
    except ValueError as error:
        parser.error(name_options(error))


def main() -> None:
    arguments = arguments_of()
    if arguments.boxes is not None and not arguments.boxes.is_dir():
        raise FaceAlignError(f"{arguments.boxes}: no such folder; --boxes takes a folder of NAME.txt")
    check_outputs(folders=[arguments.output])
    lost = arguments.video is not None and arguments.video.isdecimal()
    goes_on = nullcontext() if lost else resumable(arguments.output)
    with goes_on, exclusive(arguments.output, "an alignment"):
        if arguments.video is None:
            align_images(arguments)
        else:
            align_video(arguments)
