"""The error that every bad input becomes: one line that names the file and the remedy."""


class FaceAlignError(Exception):
    """A bad input or a failed step, described in one line a user can act on."""
