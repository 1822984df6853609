"""The photo in a request's body, raw or as a form, read into memory within limits."""

import asyncio
from collections.abc import AsyncGenerator

from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from facealign.serve.limits import Hold, Limits, RefusalError

FORM_SLACK = 65_536
"""Bytes of a form around its photo."""
DRAINED_BYTES = 64_000_000
"""Of a refused body that are read all the same: clients that still send do not see an answer."""
DRAINED_SECONDS = 2.0
LONGEST_NAME = 255


class InMemory(MultiPartParser):
    """Starlette's parser of forms, which never writes a part to disk."""

    spool_max_size = 0  # of Python's spooled files: no limit


class Body:
    """The body of a request, in chunks; `ended` when all of it has come."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self.ended = False
        # With this header, the client sends nothing until it is asked to, by the first read.
        self._sends = "expect" not in request.headers

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The chunks that have not been read yet. Raises ClientDisconnect."""
        self._sends = True
        while not self.ended:
            message = await self._request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            self.ended = not message.get("more_body", False)
            yield message.get("body", b"")

    async def drain(self) -> bool:
        """Read and forget the rest, within limits. Returns whether all of it came."""
        if self.ended or not self._sends:
            return self.ended
        left = DRAINED_BYTES
        try:
            async with asyncio.timeout(DRAINED_SECONDS):
                async for chunk in self.chunks():
                    left -= len(chunk)
                    if left < 0:
                        break
        except TimeoutError:
            pass
        return self.ended


async def read_photo(request: Request, body: Body, limits: Limits, hold: Hold) -> tuple[bytes, str]:
    """Bytes and name of the photo in a request: its body, or the only file of a form.

    Raises RefusalError when there is none, it is too large or slow, or its type is another one, and
    ClientDisconnect.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    form = kind == "multipart/form-data"
    if not form and kind not in ("", "application/octet-stream") and not kind.startswith("image/"):
        raise RefusalError(
            415,
            "wrong_content_type",
            f"The content type is {kind!r}.",
            "Send the photo as multipart/form-data, or its bytes as image/jpeg or the like.",
        )
    most = limits.max_bytes + (FORM_SLACK if form else 0)
    announced = request.headers.get("content-length", "")
    if announced.isdecimal():
        _check_length(int(announced), most, limits)
        hold.at_least(int(announced))
    try:
        async with asyncio.timeout(limits.seconds):
            chunks = _counted(body, most, limits, hold)
            if form:
                return await _of_form(request, chunks, limits)
            data = b"".join([chunk async for chunk in chunks])
    except TimeoutError as error:
        raise RefusalError(
            408,
            "too_slow",
            f"The request's body did not arrive within {limits.seconds:g} s.",
            "Send it again, or a smaller photo.",
        ) from error
    return _not_empty(data), ""


async def _counted(body: Body, most: int, limits: Limits, hold: Hold) -> AsyncGenerator[bytes, None]:
    """The chunks of a body of `most` bytes at most, which the request then holds."""
    total = 0
    async for chunk in body.chunks():
        total += len(chunk)
        _check_length(total, most, limits)
        hold.at_least(total)
        yield chunk


def _check_length(length: int, most: int, limits: Limits) -> None:
    if length > most:
        raise RefusalError(
            413,
            "too_many_bytes",
            f"The photo has more than {limits.max_bytes} bytes, the limit.",
            "Send it scaled down, or as JPEG.",
        )


async def _of_form(
    request: Request, chunks: AsyncGenerator[bytes, None], limits: Limits
) -> tuple[bytes, str]:
    parser = InMemory(request.headers, chunks, max_files=1, max_fields=8, max_part_size=FORM_SLACK)
    try:
        form = await parser.parse()
    except (MultiPartException, FormParserError) as error:  # the latter by older versions of Starlette
        raise RefusalError(400, "bad_form", f"The form cannot be read: {error}", _ONE_PHOTO) from error
    try:
        files = [value for value in form.values() if isinstance(value, UploadFile)]
        fields = [name for name, value in form.multi_items() if not isinstance(value, UploadFile)]
        if fields:
            raise RefusalError(
                400,
                "bad_form",
                f"The form has a field {fields[0]!r}, which is no file.",
                "Send the photo as a file; options go into the address, as in /align?format=csv.",
            )
        if not files:
            raise RefusalError(400, "no_photo", "The form has no file.", _ONE_PHOTO)
        data = await files[0].read()
        _check_length(len(data), limits.max_bytes, limits)
        return _not_empty(data), (files[0].filename or "")[-LONGEST_NAME:]
    finally:
        await form.close()


_ONE_PHOTO = "Send one photo, as a file of a multipart/form-data form, or its bytes as the body."


def _not_empty(data: bytes) -> bytes:
    if not data:
        raise RefusalError(400, "no_photo", "The request has no photo: it is empty.", _ONE_PHOTO)
    return data
