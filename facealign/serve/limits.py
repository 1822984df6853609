"""What the server refuses: limits, the refusals that name the remedy, and the count of what is under way."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from facealign.errors import FaceAlignError

HELD_PHOTOS = 16
"""Photos of the largest size that fit into the memory for bodies; the others wait outside."""


@dataclass(frozen=True)
class Limits:
    """Limits of the server.

    max_bytes: of a request's body; max_pixels: of a photo; max_requests: under way at once; of these by one
    client (address): max_client_requests; seconds: for a body to arrive, for a request to wait for its turn,
    and for its photo to be worked on, each.

    >>> Limits().max_held
    320000000
    """

    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    max_requests: int = 256
    max_client_requests: int = 128
    seconds: float = 60.0

    @property
    def max_held(self) -> int:
        """Bytes of all bodies that are held in memory at once."""
        return HELD_PHOTOS * self.max_bytes


class RefusalError(FaceAlignError):
    """A request that is answered with an error: HTTP status, a word for programs, what is wrong, what to do.

    >>> RefusalError(415, "not_an_image", "The body is no image.", "Send a JPEG.").content()["status"]
    415
    """

    def __init__(self, status: int, code: str, error: str, remedy: str) -> None:
        super().__init__(status, code, error, remedy)  # all, so that it can be pickled
        self.status, self.code, self.error, self.remedy = status, code, error, remedy

    def content(self) -> dict[str, str | int]:
        """The JSON object of the answer."""
        return {"status": self.status, "code": self.code, "error": self.error, "remedy": self.remedy}

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer."""
        return {"Retry-After": "1"} if self.status in (429, 503) else {}


class Admission:
    """Counts the requests under way and the bytes that they hold. Of one thread only: the server's."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.requests: Counter[str] = Counter()
        self.held = 0

    @contextmanager
    def admitted(self, client: str) -> Iterator["Hold"]:
        """A request of a client under way meanwhile. Raises RefusalError when there are too many."""
        limits = self.limits
        if self.requests.total() >= limits.max_requests:
            raise RefusalError(
                503,
                "server_busy",
                f"The server has {limits.max_requests} requests under way, as many as it takes.",
                "Try again in a second.",
            )
        if self.requests[client] >= limits.max_client_requests:
            raise RefusalError(
                429,
                "too_many_requests",
                f"{limits.max_client_requests} requests of yours are under way, the limit of one client.",
                "Wait for the answer to one of them, then send the next.",
            )
        hold = Hold(self)
        self.requests[client] += 1
        try:
            yield hold
        finally:
            self.held -= hold.bytes
            self.requests[client] -= 1
            if not self.requests[client]:
                del self.requests[client]


class Hold:
    """The bytes that one request holds."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.bytes = 0

    def at_least(self, total: int) -> None:
        """Hold so many bytes, or more. Raises RefusalError when the memory for bodies is short."""
        more = max(0, total - self.bytes)
        if self._admission.held + more > self._admission.limits.max_held:
            raise RefusalError(
                503,
                "server_busy",
                "The photos under way fill the memory that the server has for them.",
                "Try again in a second.",
            )
        self._admission.held += more
        self.bytes += more
