"""The command line programs, one module per verb of `facealign`: options in, files and printed lines out."""

import argparse


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add the options, shared by align and evaluate, of how landmarks are predicted."""
    from facealign.engines.opening import KINDS  # here, as most verbs run no network

    parser.add_argument(
        "--engine",
        choices=KINDS,
        default="auto",
        help="auto (default): pycaffe when it is installed, else ONNX in OpenCV",
    )
    parser.add_argument(
        "--cascade",
        nargs="?",
        const=True,
        default=False,
        metavar="FILE",
        help="refine the landmarks with a second network on an aligned crop (default FILE: the released one)",
    )
    parser.add_argument(
        "--flip",
        action="store_true",
        help="average with the prediction on the mirrored crop: two runs of each network for a face",
    )
    parser.add_argument(
        "--published", action="store_true", help="crop as the reference demo does, for its author's weights"
    )
