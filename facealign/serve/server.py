"""Runs the application on a socket until a signal comes; running requests are answered first."""

import asyncio
import math
import os
import signal
import socket
from collections.abc import Callable
from contextlib import closing
from types import FrameType

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from facealign.errors import FaceAlignError

BACKLOG = 1024
IDLE_SECONDS = 15
"""Longest time that a connection is kept for its next request."""


class Http(H11Protocol):
    """HTTP/1.1 that closes connections on which no request comes; uvicorn waits for some without end."""

    silence: float
    """Longest time between requests, or from the start to the first, their headers included; seconds."""
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._wait()
        super().on_response_complete()

    def _wait(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = self.loop.call_later(self.silence, self._close_if_silent)

    def _close_if_silent(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0: any that is free. Raises FaceAlignError when that fails."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None) or 0
        reason = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or error
        raise FaceAlignError(
            f"{host}:{port}: cannot listen ({reason}); give another --host or --port"
        ) from error


def serve(app: ASGIApp, listening: socket.socket, seconds: float, started: Callable[[], None]) -> None:
    """Answer requests until Ctrl-C, SIGTERM or SIGHUP.

    seconds: for requests under way to end, after which they are dropped, and for a request's header to come;
    started: called once.
    Then raises what the signal's handler from before raises: KeyboardInterrupt.
    """

    class Patient(Http):
        silence = seconds

    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=Patient,
        ws="none",
        lifespan="off",
        log_level="error",
        use_colors=False,  # our terminals show control characters of a log, and do not obey them
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=min(IDLE_SECONDS, math.ceil(seconds)),
        timeout_graceful_shutdown=math.ceil(seconds),
        backlog=BACKLOG,
    )
    before = signal.signal(signal.SIGHUP, _as_sigterm)
    try:
        with closing(listening):
            _Server(config, started).run(sockets=[listening])
    finally:
        signal.signal(signal.SIGHUP, before)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell()


def _as_sigterm(number: int, frame: FrameType | None) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
