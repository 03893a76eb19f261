"""The words of a text, in any script."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

# A longer text is cut: what it is about stands at its beginning, and each has to be cheap.
_MOST_CHARACTERS = 2_000
# Thai, Lao, Burmese and Khmer, Japanese and Chinese write no spaces between words.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
# Signs within words that are no letters for Python: of Arabic, and of the scripts of India.
_SIGNS = "\u064b-\u065f\u0900-\u0963\u0966-\u0dff"
_RUNS = re.compile(rf"[{_UNSPACED}]+|(?:[^\W_{_UNSPACED}]|[{_SIGNS}])+")
_ASCII_RUNS = re.compile(r"[a-z0-9]+")


def words(text: str) -> list[str]:
    """The words of `text`, each once, in their order, whatever their case and width.

    Where a script writes no spaces, each two characters that stand together are one, as of Lucene's
    `CJKBigramFilter`. Endings are left as they are.

    >>> words("The Lion, the Witch & the WARDROBE (2005)")
    ['the', 'lion', 'witch', 'wardrobe', '2005']
    >>> words("iPhone手机壳")
    ['iphone', '手机', '机壳']
    """
    text = text[:_MOST_CHARACTERS]
    if text.isascii():
        return list(dict.fromkeys(_ASCII_RUNS.findall(text.lower())))
    found = dict[str, None]()
    for run in _RUNS.findall(unicodedata.normalize("NFKC", text).casefold()):
        if len(run) > 1 and _unspaced(run):
            found.update(dict.fromkeys(map("".join, pairwise(run))))
        else:
            found[run] = None
    return list(found)


_unspaced = re.compile(f"[{_UNSPACED}]").match
