"""Serve a page to try the aligner in a browser, and an HTTP API: photos in, boxes, landmarks and pose out.

    curl --form photo=@photo.jpg http://127.0.0.1:8000/align

No photo is written to disk or sent anywhere else. Ctrl-C stops it when the running requests are answered.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence

from facealign.commands import add_network_options, add_workers, program
from facealign.commands.messages import figures
from facealign.errors import FaceAlignError
from facealign.inference.model_zoo import default_weights, second_of
from facealign.serve.limits import Limits

EXAMPLES = (
    "serve  # then open http://127.0.0.1:8000",
    "serve --cascade --flip --port 8080  # the most exact",
    "serve --host 0.0.0.0 --max-client-requests 8  # for a network",
)
"""Command lines that its help shows."""


def options() -> argparse.ArgumentParser:
    """The parser of its command line."""
    parser = program(__doc__, EXAMPLES)
    server = parser.add_argument_group("server")
    server.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen on (default: 127.0.0.1, this machine only; 0.0.0.0: all networks; there "
        "is no password)",
    )
    server.add_argument("--port", type=_port, default=8000, metavar="N", help="of the address; 0: a free one")
    add_network_options(parser.add_argument_group("network"))
    add_workers(parser)
    limits = parser.add_argument_group("limits", "what exceeds one is refused, with a JSON body that says so")
    of_limits: dict[str, tuple[Callable[[str], float], str]] = {
        "max_bytes": (_count, "of a photo's file"),
        "max_pixels": (_count, "of a photo"),
        "max_requests": (_count, "requests under way at once, waiting ones included"),
        "max_client_requests": (_count, "of these from one address"),
        "seconds": (
            _seconds,
            "for a photo to arrive, to wait for its turn, and to be worked on, each; and, when the server is "
            "stopped, for running requests to end",
        ),
    }
    for field in dataclasses.fields(Limits):
        kind, text = of_limits[field.name]
        option = "--" + field.name.replace("_", "-")
        limits.add_argument(option, type=kind, default=field.default, metavar="N", help=text)
    return parser


def arguments_of(command: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return options().parse_args(command)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, 1 or more")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 0 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r}: expected seconds, more than 0, at most 3600")
    return seconds


def main() -> None:
    arguments = arguments_of()
    try:
        from facealign.serve.app import create_app
        from facealign.serve.photo import Settings, limit_decoders, open_tools
        from facealign.serve.server import listening_socket, serve
        from facealign.serve.workers import Workers
    except ImportError as error:
        raise FaceAlignError(f"facealign serve: {error}; pip install 'facealign[serve]'") from error
    limits = Limits(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(Limits)})
    settings = Settings(
        weights=arguments.weights or default_weights(arguments.engine),
        engine=arguments.engine,
        published=arguments.published,
        flip=arguments.flip,
        cascade=second_of(arguments.cascade, arguments.engine),
        max_pixels=limits.max_pixels,
    )
    limit_decoders(limits.max_pixels)
    listening = listening_socket(arguments.host, arguments.port)
    host, port = listening.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def started() -> None:
        figures(f"{address} (Ctrl-C stops it)")
        sys.stdout.flush()

    with listening, Workers(arguments.workers, open_tools, (settings,)) as workers:
        serve(create_app(workers, limits), listening, limits.seconds, started)
