"""The exceptions raised for any bad input."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class FaceAlignError(Exception):
    """Raised for any bad input or failed step: one line that names the file and the remedy.

    >>> from facealign import FaceAligner
    >>> FaceAligner.open("missing.onnx")
    Traceback (most recent call last):
    facealign.errors.FaceAlignError: missing.onnx: no such file; train first, or give --weights
    """


class StoreError(FaceAlignError):
    """Raised when an object store gives nothing: it is not reached, or refuses whoever asks.

    It ends a program where a file that is missing or broken is reported and skipped: the next file would fare
    no better.
    """


def attempted(
    function: Callable[Arguments, Result], *arguments: Arguments.args, **options: Arguments.kwargs
) -> Result | FaceAlignError:
    """The result of function(*arguments, **options), or the FaceAlignError that it raises: of a file to skip.

    Raises StoreError, which is not of one file.

    >>> attempted(int, "7")
    7
    """
    try:
        return function(*arguments, **options)
    except StoreError:
        raise
    except FaceAlignError as error:
        return error
