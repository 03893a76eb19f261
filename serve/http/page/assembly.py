"""Assembles the page: markup, style and scripts in one document, and its security policy."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files

# A script uses what the scripts before it define.
_SCRIPTS = (
    "uplot.min.js",
    "text.js",
    "metrics.js",
    "charts.js",
    "tiles.js",
    "alerts.js",
    "flow.js",
    "system.js",
    "sent_events.js",
    "history.js",
    "contributions.js",
    "recommended.js",
    "try_it.js",
    "start.js",
)

# Each may overrule those before it.
_STYLES = ("uplot.min.css", "page.css", "system.css", "entity.css")


@dataclass(frozen=True, slots=True)
class Page:
    """The document, and a Content-Security-Policy that lets only its own scripts run."""

    html: str
    policy: str


def page() -> Page:
    """Read the files of this package. The document loads nothing from another host.

    >>> "<script>" in page().html, "default-src 'none'" in page().policy
    (True, True)
    """
    style = "\n".join(_part(name) for name in _STYLES)
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
    """The name of an inline element in a policy: the digest of its content."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
