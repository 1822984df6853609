"""The page's HTML, for the server and for a page that aligns in the browser."""

from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined

PAGE = Path(__file__).parent / "page"
"""Files of the page; other than index.html, they are at `static/` of its address."""


def page_html(aligner: Literal["server", "browser"], policy: str = "") -> str:
    """The page as HTML.

    aligner: what finds the faces, which is also the name of the page's script; policy: the content security
    policy that the page states itself, where no server sends one.
    """
    environment = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("index.html").render(aligner=aligner, policy=policy)
