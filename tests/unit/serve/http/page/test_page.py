"""The page is one document that runs under its own policy and loads nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from html.parser import HTMLParser

from freshrank.serve.http.page.assembly import page


class Parsed(HTMLParser):
    """The links, ids, scripts and handlers of a document."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.ids: list[str] = []
        self.inline: dict[str, str] = {}
        self.handlers: list[str] = []
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        for name, value in attrs:
            if name in ("src", "href", "action"):
                self.targets.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            if name == "style" or name.startswith("on"):
                self.handlers.append(f"{tag} {name}")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in ("script", "style"):
            self.inline[self._inside] = self.inline.get(self._inside, "") + data


def test_every_part_is_in_the_document() -> None:
    parsed = Parsed(page().html)
    assert "class Chart" in parsed.inline["script"]
    assert "--live" in parsed.inline["style"]
    assert "/* script */" not in page().html
    assert "/* style */" not in page().html


def test_nothing_is_asked_of_another_host() -> None:
    parsed = Parsed(page().html)
    assert parsed.targets
    assert all("//" not in target or target.startswith("data:") for target in parsed.targets)
    for loader in ("url(", "@import", "import(", "XMLHttpRequest", "WebSocket"):
        assert loader not in page().html


def test_links_are_relative_so_that_the_page_works_below_a_prefix() -> None:
    assert not [one for one in Parsed(page().html).targets if one.startswith("/")]
    assert 'ask("/' not in page().html


def test_the_policy_names_exactly_the_inline_script_and_style() -> None:
    parsed = Parsed(page().html)
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(parsed.inline[tag].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in page().policy
    assert "unsafe" not in page().policy


def test_no_attribute_needs_what_the_policy_forbids() -> None:
    assert Parsed(page().html).handlers == []


def test_ids_are_unique_and_those_that_scripts_look_up_exist() -> None:
    parsed = Parsed(page().html)
    assert len(parsed.ids) == len(set(parsed.ids))
    wanted = {part.split('"')[0] for part in parsed.inline["script"].split('byId("')[1:]}
    assert wanted
    assert wanted <= set(parsed.ids)


def test_nothing_from_the_network_becomes_markup() -> None:
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert sink not in page().html
