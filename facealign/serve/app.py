"""The application: the page, POST /align, GET /health; every error is JSON that names the remedy."""

import asyncio
import dataclasses
import logging
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import facealign
from facealign.concurrency.apart import CrashError
from facealign.serve.body import Body, read_photo
from facealign.serve.limits import Admission, Limits, RefusalError
from facealign.serve.page_html import PAGE, page_html
from facealign.serve.photo import MEDIA_TYPES, Format, Photo, Turns, answer
from facealign.serve.schema import AlignedPhoto, Health, Problem
from facealign.serve.workers import UnwantedError, Workers

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "type": "object",
    "properties": {"photo": {"type": "string", "format": "binary", "description": "any name will do"}},
    "required": ["photo"],
}
REQUEST_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {"schema": _FORM},
        "image/*": _BINARY,
        "application/octet-stream": _BINARY,
    },
}
REFUSALS = {
    400: "No photo, or more than one.",
    408: "The body came too slowly.",
    413: "Too many bytes or pixels.",
    415: "Not an image.",
    422: "A damaged or truncated image, or an option that is none.",
    429: "Too many requests of this client are under way.",
    500: "The photo made a worker process die.",
    503: "The server is busy or was stopped, or the photo took too long.",
}
log = logging.getLogger("uvicorn.error")


def create_app(workers: Workers, limits: Limits) -> ASGIApp:
    """The application; workers: of `photo.open_tools`, started."""
    app = FastAPI(
        title="Face alignment",
        version=facealign.__version__,
        description="The faces of a photo: box, 68 landmarks and head pose.",
        docs_url=None,  # both pages load their scripts from elsewhere
        redoc_url=None,
    )
    admission = Admission(limits)

    @app.get("/health", response_model=Health)
    async def health() -> dict[str, Any]:
        """State and limits of the server."""
        return {
            "status": "ok",
            "version": facealign.__version__,
            "workers": workers.count,
            "requests": admission.requests.total(),
            "limits": dataclasses.asdict(limits),
        }

    @app.post(
        "/align",
        response_class=Response,
        openapi_extra={"requestBody": REQUEST_BODY},
        responses={
            200: {
                "description": "The faces: JSON, a CSV table with one row a landmark, or 300-W's .pts.",
                "model": AlignedPhoto,
                "content": {kind.partition(";")[0]: {} for kind in MEDIA_TYPES.values()},
            },
            **{status: {"description": text, "model": Problem} for status, text in REFUSALS.items()},
        },
    )
    async def align(
        request: Request,
        turns: Annotated[Turns, Query(description="search the photo turned by quarters too")] = "auto",
        form: Annotated[Format, Query(alias="format")] = "json",
        face: Annotated[int, Query(ge=0, description="with format=pts: which face, from 0")] = 0,
    ) -> Response:
        """The faces of a photo: a file of a form, or the body itself."""
        body = Body(request)
        client = request.client.host if request.client else ""

        async def still_there() -> bool:
            return not await request.is_disconnected()

        try:
            with admission.admitted(client) as hold:
                data, name = await read_photo(request, body, limits, hold)
                photo = Photo(data, name, turns, form, face)
                content = await workers.call(answer, photo, limits.seconds, still_there)
        except RefusalError as refusal:
            return await _refused(refusal, body)
        except CrashError as error:
            return await _refused(_crashed(error), body)
        except (ClientDisconnect, UnwantedError):
            return Response(status_code=400)  # which nobody reads
        return Response(content, media_type=MEDIA_TYPES[form], headers={"Cache-Control": "no-store"})

    html = page_html("server")

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(html, headers={"Cache-Control": "no-cache"})

    app.mount("/static", StaticFiles(directory=PAGE), name="static")
    _answer_errors_with_json(app)
    return SecureHeaders(AnsweredWhenStopped(app))


async def _refused(refusal: RefusalError, body: Body) -> Response:
    answer = JSONResponse(refusal.content(), refusal.status, refusal.headers)
    try:
        whole = await body.drain()
    except ClientDisconnect:
        whole = False
    if not whole:
        answer.headers["Connection"] = "close"
    return answer


def _crashed(error: CrashError) -> RefusalError:
    if "longer than" in str(error):
        return RefusalError(503, "too_long", f"The photo {error}, the limit.", "Send it scaled down.")
    log.error("a photo ended a worker process: %s", error)
    return RefusalError(
        500,
        "crashed",
        f"The photo could not be worked on ({error}).",
        "Save it anew, as PNG or JPEG, and send that.",
    )


def _answer_errors_with_json(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        what = f"{first['loc'][-1]}: {first['msg']}."
        refusal = RefusalError(422, "bad_option", what, "The options are described in /openapi.json.")
        return await _refused(refusal, Body(request))

    @app.exception_handler(HTTPException)
    async def wrong(request: Request, error: HTTPException) -> Response:
        remedy = "Send photos to POST /align; the page is at /, the API's description at /openapi.json."
        what = f"{request.method} {request.url.path}: {error.detail}."
        refusal = RefusalError(error.status_code, "wrong_address", what, remedy)
        refused = await _refused(refusal, Body(request))
        refused.headers.update(error.headers or {})
        return refused

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        refusal = RefusalError(
            500, "bug", f"The server failed: {type(error).__name__}.", "Report it, with the photo if you can."
        )
        return JSONResponse(refusal.content(), 500, {"Connection": "close"})


class AnsweredWhenStopped:
    """Answers the requests that the server drops when it ends."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noticed(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, noticed)
        except asyncio.CancelledError:
            if begun:
                raise
            stopped = RefusalError(503, "stopped", "The server was stopped.", "Send it again when it runs.")
            await JSONResponse(stopped.content(), 503, {**stopped.headers, "Connection": "close"})(
                scope, receive, send
            )


class SecureHeaders:
    """Adds SECURITY_HEADERS to every answer of an application."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        await self.app(scope, receive, secured)
