import pytest

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.aggregations.windowed.windows import (
    Tumbling,
    Window,
    parse_windows,
)
from freshrank.feature_actors.streams.durations import duration_ms


@pytest.mark.parametrize(
    ("text", "length"),
    [("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000), ("7d", 604_800_000)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, length: int) -> None:
    assert duration_ms(text, "here") == length


@pytest.mark.parametrize("text", ["5min", "5 m", "m", "1.5h", "-5m", "", "5M", "0s", "\u0665m"])
def test_a_misspelt_duration_is_an_error_that_names_place_and_fix(text: str) -> None:
    with pytest.raises(ConfigError, match=r'here: .* as in "30s"'):
        duration_ms(text, "here")


def test_a_window_slides_in_twelfths_unless_told_otherwise() -> None:
    assert parse_windows(["1h"], None, "v") == (Window("1h", 3_600_000, 300_000),)
    assert parse_windows(["1h"], "1m", "v") == (Window("1h", 3_600_000, 60_000),)


@pytest.mark.parametrize(("length", "hop", "tiles"), [(12, 1, 13), (10, 3, 5), (5, 5, 2)])
def test_a_ring_has_a_tile_for_each_hop_that_a_read_can_touch(
    length: int, hop: int, tiles: int
) -> None:
    touched = max(
        at // hop - (at - length) // hop + 1 for at in range(10 * length, 10 * length + hop)
    )
    assert Window("w", length, hop).tiles >= touched
    assert Window("w", length, hop).tiles == tiles


def test_what_does_not_slide_is_a_ring_of_its_tiles() -> None:
    lifetime, today, yesterday = parse_windows(
        ["lifetime", Tumbling("1d", begins="16h"), Tumbling("1d", previous=True)], None, "v"
    )
    assert [one.text for one in (lifetime, today, yesterday)] == [
        "lifetime",
        "current_1d",
        "previous_1d",
    ]
    assert [one.tiles for one in (lifetime, today, yesterday)] == [1, 1, 2]
    day = 86_400_000
    assert [one.keeps_ms for one in (lifetime, today, yesterday)] == [None, day, 2 * day]
    assert today.shift_ms == day // 3
    lines = [one.line(0, 0) for one in (lifetime, today, yesterday)]
    assert [line.exact for line in lines] == [True] * 3
    assert [line.whole for line in lines] == [False, False, True]


def test_a_hop_is_of_the_windows_that_slide() -> None:
    hour, lifetime = parse_windows(["1h", "lifetime"], "1m", "v")
    assert (hour.hop_ms, lifetime.tiles) == (60_000, 1)


def test_days_of_other_beginnings_and_other_kinds_have_canonical_texts_of_their_own() -> None:
    windows = parse_windows(["1d", "lifetime", Tumbling("1d"), Tumbling("1d", True)], None, "v")
    (shifted,) = parse_windows([Tumbling("1d", begins="1h")], None, "v")
    (zoned,) = parse_windows([Tumbling("1d", zone="Europe/Berlin")], None, "v")
    texts = {one.canonical for one in (*windows, shifted, zoned)}
    assert len(texts) == 6


@pytest.mark.parametrize(
    ("declared", "delay", "problem"),
    [
        ("lifetime", "1d", "v.delay: 'lifetime' is on at the time of a read"),
        (Tumbling("1d"), "1d", "is on at the time of a read"),
        (Tumbling("1s", previous=True), "1d", "into 86402 tiles"),
        (Tumbling("day"), None, r"v.windows\[0\].length: 'day' is not a duration"),
        (Tumbling("1d", begins="1d"), None, r"v.windows\[0\].begins: '1d' is no shorter"),
        (Tumbling("1d", begins="noon"), None, "'noon' is not a duration"),
        (
            Tumbling("12h", zone="Europe/Berlin"),
            None,
            r"v.windows\[0\].length: '12h' is not in whole days.*Take whole days",
        ),
        (
            Tumbling("1d", zone="Europe/Berlim"),
            None,
            r"v.windows\[0\].zone: 'Europe/Berlim' is no time zone.*'Europe/Berlin'",
        ),
        ("life", None, "'life' is not a duration"),
    ],
    ids=str,
)
def test_days_and_lifetimes_that_cannot_work_are_refused(
    declared: str | Tumbling, delay: str | None, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse_windows([declared], None, "v", delay)


@pytest.mark.parametrize("declared", ["lifetime", Tumbling("1d")], ids=["lifetime", "tumbling"])
def test_what_does_not_slide_has_no_hop(declared: str | Tumbling) -> None:
    with pytest.raises(ConfigError, match=r"v\.hop: no window slides"):
        parse_windows([declared], "1h", "v")
    with pytest.raises(ConfigError, match="given twice"):
        parse_windows([declared, declared], None, "v")


@pytest.mark.parametrize(
    ("text", "fix"),
    [("lifetime", '["lifetime"]'), ("5m", '["5m"]'), ("5 minutes", "ms, s, m, h, d")],
)
def test_a_text_in_place_of_a_list_is_corrected_at_once(text: str, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_windows(text, None, "UserActivity.views")
    assert fix in caught.value.fix


def test_an_error_names_the_window() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_windows(["1h", "5min"], None, "UserActivity.views")
    assert caught.value.place == "UserActivity.views.windows[1]"


@pytest.mark.parametrize(
    ("texts", "hop", "problem"),
    [
        ("5m", None, "is a string"),
        ([], None, "no window is given"),
        (["1h", "60m"], None, "given twice"),
        (["1m"], "5m", "shorter than its hop"),
        (["7d"], "1s", "a hop of '1s' cuts '7d'"),
        (["1h"], "soon", "not a duration"),
    ],
)
def test_windows_that_cannot_work_are_refused(
    texts: list[str], hop: str | None, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse_windows(texts, hop, "v")
