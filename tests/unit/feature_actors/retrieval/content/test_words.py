import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshrank.feature_actors.retrieval.content.words import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("... — !", []),
        ("Snow White, snow_white: SNOW!", ["snow", "white"]),
        ("3.5-inch LED", ["3", "5", "inch", "led"]),
        ("Weiße Straße", ["weisse", "strasse"]),
        ("\uff37ide \uff10\uff14", ["wide", "04"]),
        ("Cafe\u0301 déjà-vu", ["café", "déjà", "vu"]),
        ("手机壳", ["手机", "机壳"]),
        ("红 iPhone15手机", ["红", "iphone15", "手机"]),
        ("ひらがな", ["ひら", "らが", "がな"]),
        ("हिन्दी फिल्म।", ["हिन्दी", "फिल्म"]),
        ("สวัสดี", ["สว", "วั", "ัส", "สด", "ดี"]),
        ("Война и мир", ["война", "и", "мир"]),
    ],
    ids=[
        "empty", "marks", "repeated", "numbers", "german", "full width", "accents", "chinese",
        "mixed", "hiragana", "hindi", "thai", "russian",
    ],
)  # fmt: skip
def test_words_of_each_script(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@given(st.text())
def test_words_are_those_of_the_text_in_capitals_and_none_twice(text: str) -> None:
    found = words(text)
    assert len(set(found)) == len(found)
    assert all(found)
    if text.isascii():
        assert found == words(text.upper())


def test_a_long_text_is_cut() -> None:
    assert words("one " + "two " * 1_000 + "last") == ["one", "two"]
