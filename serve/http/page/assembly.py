"""Puts the page together: markup, style and scripts in one document, and its policy."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files

# In the order in which they build on one another.
_SCRIPTS = ("text.js", "charts.js", "figures.js", "sent.js", "play.js", "start.js")


@dataclass(frozen=True, slots=True)
class Page:
    """The document, and the Content-Security-Policy under which nothing else can run in it."""

    html: str
    policy: str


def page() -> Page:
    """Read the parts from the package. The document asks for nothing from another host.

    >>> "<script>" in page().html, "default-src 'none'" in page().policy
    (True, True)
    """
    style = _part("page.css")
    script = '"use strict";\n' + "\n".join(_part(name) for name in _SCRIPTS)
    html = _part("page.html").replace("/* style */", style).replace("/* script */", script)
    return Page(
        html,
        "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; "
        f"style-src {_hashed(style)}; script-src {_hashed(script)}",
    )


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hashed(text: str) -> str:
    """How a policy names one inline element: by the digest of its content."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
