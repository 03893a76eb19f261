"""README, CONTRIBUTING and docs, as far as a test can compare them with the code.

Each check takes the repository's root and returns what does not exist, as ``page:line: what``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from conventions import FOLDERS

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# The fence of a block of code, and an inline piece of code, which may go on in the next line.
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")
# A file below the root, and perhaps names that are defined in it: `learner/core.py: Learner.step`.
_FILE = re.compile(r"((?:[\w.-]+/)+[\w.*-]+\.\w+)(?:: ([\w., ]+))?")
# A file that is named without its folder.
_BARE = re.compile(r"\w+\.py")
_SOURCES = (*FOLDERS, "tests")
_TEST = re.compile(r"\btest_\w+")
_ROUTE = re.compile(
    r"(?<!\w)(?:(GET|POST) )?(/(?:v1/|healthz|readyz|metrics|openapi\.json)[\w{}/]*)"
)


@dataclass(frozen=True, slots=True)
class Code:
    """A piece of code of a page."""

    page: str
    line: int
    language: str
    """What the fence of a block says; "inline" within a sentence or a table."""
    text: str

    @property
    def place(self) -> str:
        """Page and line."""
        return f"{self.page}:{self.line}"


def pages(root: Path) -> list[Path]:
    """The pages whose contents describe the present."""
    first = [root / "README.md", root / "CONTRIBUTING.md"]
    return [page for page in (*first, *sorted((root / "docs").glob("*.md"))) if page.exists()]


def blocks(root: Path, language: str, page: str | None = None) -> list[Code]:
    """The blocks of code in a language, of all pages or of one."""
    return [code for code in _code(root) if code.language == language and page in (None, code.page)]


def dead_links(root: Path) -> list[str]:
    """Links to files and headings that are not there."""
    found = []
    for path in [*pages(root), root / "CHANGELOG.md"]:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for link in _LINK.finditer(text):
            target, _, heading = link[1].partition("#")
            if "://" in target:
                continue
            file = path if not target else path.parent / target
            if not file.exists() or (heading and heading not in _headings(file)):
                found.append(f"{_name(root, path)}:{_line(text, link.start())}: {link[1]}")
    return found


def missing_files(root: Path) -> list[str]:
    """Files of the repository that are named and are not there, or do not define what is named."""
    # A run of the demo makes `.freshrank` here.
    folders = {path.name for path in root.iterdir() if path.is_dir() and path.name[0] != "."}
    names = {path.name for folder in _SOURCES for path in (root / folder).rglob("*.py")}
    found = []
    for code in _code(root):
        if code.language == "inline" and _BARE.fullmatch(code.text) and code.text not in names:
            found.append(f"{code.place}: {code.text}")
        for named in _FILE.finditer(code.text) if code.language == "inline" else ():
            name, symbols = named[1], named[2]
            if name.partition("/")[0] not in folders:
                continue  # a file of the user, or of another package
            files = list(root.glob(name))
            if not files:
                found.append(f"{code.place}: {name}")
            elif symbols and name.endswith(".py"):
                defined = definitions(files[0])
                wanted = (symbol.strip() for symbol in symbols.split(","))
                found += [f"{code.place}: {name}: {one}" for one in wanted if one not in defined]
    return found


def missing_tests(root: Path) -> list[str]:
    """Tests, and files of tests, that are named and are not there."""
    tests = list((root / "tests").rglob("*.py"))
    names = {path.stem for path in tests}
    names |= {name for path in tests for name in definitions(path)}
    return [
        f"{code.place}: {named[0]}"
        for code in _code(root)
        if code.language == "inline"
        for named in _TEST.finditer(code.text)
        if named[0] not in names
    ]


def missing_routes(root: Path, routes: Set[tuple[str, str]]) -> list[str]:
    """Routes of the REST API that are not among `routes`, pairs of method and path."""
    paths = {path for _, path in routes}
    return [
        f"{code.place}: {named[0]}"
        for code in _code(root)
        if code.language == "inline"
        for named in _ROUTE.finditer(code.text)
        if named[2] not in paths or (named[1] and (named[1], named[2]) not in routes)
    ]


def missing_settings(root: Path, settings: Set[str]) -> list[str]:
    """Settings (``kafka.bootstrap``) and their variables that are not among `settings`."""
    sections = "|".join(sorted({name.partition(".")[0] for name in settings if "." in name}))
    dotted = re.compile(rf"\b(?:{sections})\.\w+(?:\.\w+)?")
    variable = re.compile(r"FRESHRANK_([A-Z_]+[A-Z])")
    found = []
    for code in _code(root):
        if code.language == "python":
            continue
        names = dotted.fullmatch(code.text)
        if names and names[0] not in settings and not names[0].endswith((".py", ".md")):
            found.append(f"{code.place}: {names[0]}")
        found += [
            f"{code.place}: {named[0]}"
            for named in variable.finditer(code.text)
            if named[1].lower().replace("__", ".") not in settings
        ]
    return found


def command_lines(root: Path) -> list[Code]:
    """Each line that begins with ``freshrank`` or with a program of the repository."""
    return [
        Code(code.page, code.line + number, code.language, line.partition(" #")[0].strip())
        for code in _code(root)
        if code.language in ("", "inline")
        for number, line in enumerate(code.text.splitlines())
        if re.match(r"freshrank |scripts/|\.venv/bin/", line)
    ]


@cache
def definitions(path: Path) -> frozenset[str]:
    """Names that a file defines: classes, functions, constants, and ``Class.member``."""
    return frozenset(_defined(ast.parse(path.read_text(encoding="utf-8")).body))


def _defined(body: list[ast.stmt], above: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield above + node.name
            yield from _defined(node.body, f"{above}{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        yield above + name.id
                    elif isinstance(name, ast.Attribute):  # of `self`, in a constructor
                        yield f"{above.removesuffix('__init__.')}{name.attr}"


def _code(root: Path) -> Iterator[Code]:
    for path in pages(root):
        page, text = _name(root, path), path.read_text(encoding="utf-8")
        for block in _BLOCK.finditer(text):
            yield Code(page, _line(text, block.start()) + 1, block[1], block[2])
        prose = _BLOCK.sub(lambda block: "\n" * block[0].count("\n"), text)
        for inline in _INLINE.finditer(prose):
            yield Code(page, _line(prose, inline.start()), "inline", " ".join(inline[1].split()))


def _headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _name(root: Path, page: Path) -> str:
    return page.relative_to(root).as_posix()


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


@dataclass(frozen=True, slots=True)
class Term:
    """A line of the glossary."""

    line: int
    names: tuple[str, ...]
    """Several that belong together share a line."""
    type: str | None
    file: str


def terms(page: Path) -> list[Term]:
    """The lines of the glossary's tables."""
    found = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        row = re.fullmatch(r"\| (.+?) \| (?:`(.+?)`|-) \| `(.+?)` \| .+ \|", line)
        if row is not None:
            found.append(Term(number, tuple(row[1].split(", ")), row[2], row[3]))
        elif line.startswith("| ") and not line.startswith("| term |"):
            raise ValueError(f"{page.name}:{number}: not a term, its type, its file, its meaning")
    return found


def glossary_errors(root: Path, page: Path) -> list[str]:
    """Terms and types that stand twice, and types that their file does not define."""
    found, names, types = [], set(), set()
    for term in terms(page):
        place = f"{page.name}:{term.line}"
        found += [f"{place}: {name} stands twice" for name in term.names if name in names]
        names |= set(term.names)
        file = root / term.file
        if not file.exists():
            found.append(f"{place}: {term.file}")
        elif term.type is not None:
            if term.type in types:
                found.append(f"{place}: {term.type} stands twice")
            types.add(term.type)
            if term.type not in definitions(file):
                found.append(f"{place}: {term.file}: {term.type}")
    return found
