"""The page in a real browser, over a live system: what a person sees, does, and is safe from."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import pytest
from chromium import browser
from live_page import LivePage, live_page
from playwright.sync_api import Browser, Locator, Page, Route, expect

from freshrank.examples.catalogue import pipeline
from freshrank.learner.evaluation.class_tally import ClassTally
from freshrank.learner.models.softmax_regression import SoftmaxLoss

WIDE, PHONE, NARROWEST = (1440, 900), (390, 844), (320, 640)
Look: TypeAlias = tuple[tuple[int, int], Literal["light", "dark"]]
HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>'

# The names of what takes the focus, and of what is a picture, that have none for a screen reader.
NAMELESS = """() => [...document.querySelectorAll(
    "input, textarea, button, a, [role=img], [tabindex]")]
  .filter((one) => one.checkVisibility())
  .filter((one) => !(one.getAttribute("aria-label") || one.title || one.textContent.trim()
    || one.labels?.length)).map((one) => one.outerHTML)"""

# Texts whose contrast with what is behind them is below that of WCAG AA.
PALE = """() => {
  const parse = (text) => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d");
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map((part) => part / 255);
  };
  const over = ([r, g, b, a], back) => [r, g, b].map((part, at) => part * a + back[at] * (1 - a));
  const linear = (part) => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
  const behind = (one) => one ? over(parse(getComputedStyle(one).backgroundColor),
    behind(one.parentElement)) : [1, 1, 1];
  const texts = [...document.querySelectorAll("body *")].filter((one) => one.checkVisibility()
    && !one.closest("svg, .visually-hidden, .changed, :disabled")
    && [...one.childNodes].some((child) => child.nodeType === 3 && child.data.trim()));
  return texts.map((one) => {
    const back = behind(one);
    const [a, b] = [light(over(parse(getComputedStyle(one).color), back)), light(back)];
    return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), one.outerHTML.slice(0, 120)];
  }).filter(([ratio]) => ratio < 4.5);
}"""


@pytest.fixture(scope="module")
def live() -> Iterator[LivePage]:
    with live_page(pipeline) as running:
        yield running


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as running:
        yield running


class Opened:
    """The page in a tab of its own; what went wrong in it, and whom it asked."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        self.asked: set[str] = set()
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda said: self.problems.append(said.text))
        page.on("dialog", lambda dialog: self.problems.append(dialog.message))
        page.on("request", lambda request: self.asked.add(request.url))

    def at(self, selector: str) -> Locator:
        return self.page.locator(selector)

    def until_shown(self) -> None:
        """Return once metrics, scores and recommendations are on the page."""
        expect(self.at("#state")).to_have_text("ready")
        expect(self.at("#ranking li").first).to_be_visible()
        expect(self.at("#recommended > li").first).to_be_visible()
        self.at("#more").click()  # all candidates, at whatever rank


@pytest.fixture
def opened(request: pytest.FixtureRequest, chrome: Browser, live: LivePage) -> Iterator[Opened]:
    """The page, not loaded; a test may be given size and colour scheme."""
    (width, height), scheme = cast(Look, getattr(request, "param", (WIDE, "light")))
    context = chrome.new_context(
        base_url=live.url, viewport={"width": width, "height": height}, color_scheme=scheme
    )
    context.set_default_timeout(60_000)  # other tests may keep the machine busy
    expect.set_options(timeout=60_000)
    page = context.new_page()
    yield Opened(page)
    page.unroute_all(behavior="ignoreErrors")  # some are in flight
    context.close()


def test_a_person_sees_within_seconds_what_is_going_on(opened: Opened, live: LivePage) -> None:
    opened.page.goto("/")
    opened.until_shown()
    expect(opened.at("#flow")).to_have_attribute(
        "aria-label", re.compile(r"Topics to Feature shards: events [1-9][\d.]*/s.*Answers")
    )
    for tile in ("AUC", "Events", "Event to features", "Event to weights", "Calibration"):
        big = opened.at(".tile").filter(has=opened.page.get_by_role("heading", name=tile))
        expect(big.locator(".big").first).to_have_text(re.compile(r"\d"))
    expect(opened.at("#versions-note")).to_contain_text(re.compile(r"serves version 1\.\d+"))
    expect(opened.at("#shards th")).to_have_text(
        ["entity-item-0", "entity-item-1", "shard-0", "shard-1"]
    )
    expect(opened.at("#sources li")).to_have_count(len(pipeline.candidates))
    expect(opened.at("#inputs li").first).to_be_visible()
    expect(opened.at("#alerts")).to_be_hidden()
    assert opened.at(".chart canvas").count() == 8  # a uPlot for each tile, and the versions
    assert opened.problems == []
    assert {url for url in opened.asked if not url.startswith((live.url, "data:"))} == set()


def test_an_event_reaches_features_scores_weights_and_recommendations(opened: Opened) -> None:
    opened.page.goto("/")
    opened.until_shown()
    opened.at("#id").fill("newcomer")
    opened.page.keyboard.press("Enter")
    expect(opened.at("#features-note")).to_have_text("no event known")
    expect(opened.at("#recommended-note")).to_contain_text("Note:")
    opened.page.get_by_role("button", name="click", exact=True).first.press("Enter")
    row = opened.at("#ranking li").filter(has_text="item_id 3")
    row.get_by_role("button", name="click").click()
    for step in ("in the topic: partition", "the features contain it", "has learned up to it"):
        expect(opened.at("#log")).to_contain_text(step)
    expect(opened.at("#features")).to_contain_text(re.compile(r"clicks_1m\s*1"))
    expect(opened.at("#log")).to_contain_text(re.compile(r"its score: 0\.\d+ → 0\.\d+"))
    expect(opened.at("#recommended .reasons li").first).to_contain_text(re.compile(r"[+\u2212]\d"))
    assert opened.at("#problem").is_hidden()
    assert opened.problems == []


def test_an_event_for_a_recommended_item_takes_its_fields_from_the_catalogue(
    opened: Opened,
) -> None:
    opened.page.goto("/")
    opened.until_shown()
    opened.at("#id").fill("another newcomer")
    opened.page.keyboard.press("Enter")
    expect(opened.at("#features-note")).to_have_text("no event known")
    row = opened.at("#recommended > li").first
    with opened.page.expect_request("**/v1/events*") as sent:
        # In one go: other answers may put another item into the first row at any moment.
        told = row.evaluate("""(row) => {
          row.querySelector("button").click();
          return row.querySelector(".item").textContent;
        }""")
    event = json.loads(sent.value.post_data or "")
    assert f"item {event['item_id']}" in told
    assert event["price"] > 0  # the form says 0
    expect(opened.at("#log")).to_contain_text("the features contain it")
    expect(opened.at("#features")).to_contain_text(re.compile(r"views_1m\s*1"))


def test_a_list_that_is_pressed_is_drawn_when_it_is_let_go(opened: Opened) -> None:
    opened.page.goto("/")
    opened.until_shown()
    button = opened.at("#recommended > li").first.get_by_role("button")
    button.hover()
    opened.page.mouse.down()
    opened.page.evaluate("""() => {
      const list = byId("recommended");
      document.body.dataset.drawn = "";
      new MutationObserver(() => {
        for (const row of list.querySelectorAll(".test")) {
          document.body.dataset.drawn += row.textContent;
        }
      }).observe(list, { childList: true });
      for (const text of ["older", "newer"]) redraw(list, [make("li", { class: "test" }, text)]);
    }""")
    with opened.page.expect_request("**/v1/events*"):
        opened.page.mouse.up()
    expect(opened.at("body")).to_have_attribute("data-drawn", "newer")
    assert opened.problems == []


def test_the_last_events_are_read_when_a_person_wants_to_see_them(opened: Opened) -> None:
    opened.page.goto("/")
    opened.until_shown()
    opened.at("#id").fill("reader")
    opened.page.keyboard.press("Enter")
    opened.at("#history summary").press("Enter")
    expect(opened.at("#events")).to_have_text("none was found")
    opened.at("#ranking li").filter(has_text="item_id 5").get_by_role("button").last.click()
    event = "type view · price 0 · category_id 0 · item_id 5"
    expect(opened.at("#events li")).to_contain_text(event)
    assert opened.problems == []


def test_what_is_read_aloud_is_written_only_when_it_changes(opened: Opened) -> None:
    opened.page.goto("/")
    opened.until_shown()
    opened.page.evaluate("""() => {
      window.said = 0;
      for (const region of document.querySelectorAll("[role=status], [role=alert]")) {
        new MutationObserver((changes) => { window.said += changes.length; })
          .observe(region, { childList: true, characterData: true, subtree: true });
      }
      document.querySelector("#shards").firstChild.id = "old";
    }""")
    expect(opened.at("#old")).to_have_count(0)  # all metrics were drawn anew
    assert opened.page.evaluate("window.said") == 0


def test_the_focus_stays_while_lists_are_drawn_anew(opened: Opened) -> None:
    opened.page.goto("/")
    opened.until_shown()
    name = opened.at("#ranking li").filter(has_text="item_id 7").get_by_role("button").first
    name.press("Enter")
    reasons = opened.at("#ranking .reasons li")
    expect(reasons.first).to_contain_text(re.compile(r"[+\u2212]\d"))
    opened.page.evaluate("document.querySelector('#ranking').firstChild.id = 'old'")
    expect(opened.at("#old")).to_have_count(0)
    expect(name).to_be_focused()
    expect(name).to_have_attribute("aria-expanded", "true")
    name.press("Enter")
    expect(reasons).to_have_count(0)
    assert opened.problems == []


def test_whatever_comes_from_events_is_text(opened: Opened) -> None:
    """Each text of each answer is markup that would run, if it were taken as such."""
    opened.page.route("**/v1/**", with_hostile_texts)
    opened.page.goto("/")
    opened.at("#id").fill(HOSTILE)
    opened.page.keyboard.press("Enter")
    expect(opened.at("#shards")).to_contain_text("shard-0")
    expect(opened.at("#recommended > li").first).to_contain_text(HOSTILE)
    expect(opened.at("#event")).to_contain_text(HOSTILE)
    assert opened.at("img, body script:not(:last-of-type)").count() == 0
    assert opened.page.title() == f"Freshrank: {pipeline.name}{HOSTILE}"


def with_hostile_texts(route: Route) -> None:
    answer = route.fetch()
    route.fulfill(response=answer, body=json.dumps(hostile(answer.json())))


def hostile(value: Any) -> Any:
    if isinstance(value, str):
        # Versions are numbers, and the names of fields are those that events are made of.
        return value if re.fullmatch(r"[\d.]+|user|item|\w+_id|ts|ms", value) else value + HOSTILE
    if isinstance(value, list):
        return [hostile(one) for one in value]
    if isinstance(value, dict):
        return {key: hostile(one) for key, one in value.items()}
    return value


def with_learner(**figures: object) -> Callable[[Route], None]:
    """Put figures into the learner's part of the status."""

    def changed(route: Route) -> None:
        answer = route.fetch()
        status = answer.json()
        status["learner"] |= figures
        route.fulfill(response=answer, json=status)

    return changed


def test_inputs_that_drift_are_named_with_the_greatest_first(opened: Opened) -> None:
    found = [{"input": "price", "index": 0.31}, {"input": "views_1h", "index": 0.02}]
    opened.page.route("**/v1/status", with_learner(input_drift=found))
    opened.page.goto("/")
    expect(opened.at("#drift > li")).to_have_text([re.compile("price.*0.31"), re.compile("views")])
    expect(opened.at("#drift-note")).to_contain_text("inputs that drift: 1")
    assert opened.problems == []


def test_each_class_has_its_precision_and_recall_with_the_most_frequent_first(
    opened: Opened,
) -> None:
    tally = ClassTally(SoftmaxLoss(("cat", "<b>dog</b>", "bird")))
    likely = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1]], np.float32)
    tally.add(np.array([0, 1, 1], np.float32), likely)
    found = json.loads(json.dumps([one._asdict() for one in tally.report()]).replace("NaN", "null"))
    opened.page.route("**/v1/status", with_learner(classes=found))
    opened.page.goto("/")
    expect(opened.at("#classes > tr")).to_have_text(
        [
            re.compile("^<b>dog</b>21.0000.5001.000$"),
            re.compile("^cat10.5001.000[0-9.]+$"),
            re.compile(r"^bird0\u2013{3}$"),
        ]
    )
    assert opened.problems == []


def test_an_id_may_be_typed_before_the_pipeline_is_known(opened: Opened) -> None:
    waiting: list[Route] = []

    def hold(route: Route) -> None:
        waiting.append(route)

    opened.page.route("**/v1/pipeline", hold)
    opened.page.goto("/")
    opened.at("#id").fill("early")
    opened.page.keyboard.press("Enter")
    expect(opened.at("#state")).to_have_text("ready")
    waiting[0].continue_()
    expect(opened.at("#sources-note")).to_contain_text("ranked for user early")
    assert opened.page.url.endswith("/")
    assert opened.problems == []


class Arms:
    """Two arms in the status of each replica, one of them pinned; as after an update of some."""

    def __init__(self, *pinned: str) -> None:
        self.pinned = pinned
        """By replica: the version that its arm is pinned to."""

    def __call__(self, route: Route) -> None:
        answer = route.fetch()
        status = answer.json()
        for number, version in enumerate(self.pinned):
            arms = [("new", None), ("old", version)]
            part = status.setdefault(f"replica-{number}" if number else "replica", {"requests": 0})
            part["experiments"] = [
                {"experiment": "weights", "arm": arm, "pinned": of} for arm, of in arms
            ]
        route.fulfill(response=answer, json=status)


# Pixels of the time line that have the colour of arms: by their row, from the top.
GREEN = """() => {
  const canvas = document.querySelector("#versions canvas");
  const style = getComputedStyle(document.documentElement).getPropertyValue("--good");
  const one = new OffscreenCanvas(1, 1).getContext("2d");
  one.fillStyle = style;
  one.fillRect(0, 0, 1, 1);
  const [r, g, b] = one.getImageData(0, 0, 1, 1).data;
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
  const rows = Array(canvas.height).fill(0);
  for (let at = 0; at < data.length; at += 4)
    if (data[at] === r && data[at + 1] === g && data[at + 2] === b && data[at + 3] === 255)
      rows[Math.floor(at / 4 / canvas.width)] += 1;
  return rows;
}"""


def test_arms_are_on_the_time_line_with_their_versions_and_when_these_changed(
    opened: Opened,
) -> None:
    arms = Arms("0.1")
    opened.page.route("**/v1/status", arms)
    note = opened.at("#versions-note")
    opened.page.goto("/")
    expect(note).to_contain_text("arms: weights new live, weights old 0.1")
    expect(note).not_to_contain_text("\u2192")
    expect(opened.at("#versions .chart")).to_have_attribute(
        "aria-label", re.compile("arms: weights new live, weights old 0.1")
    )
    # Of an older epoch: its line is at the lower edge, and long after some seconds.
    lowest = until_drawn(opened, lambda rows: max(rows) > 20)
    assert rows_of_lines(lowest)[-1] > len(lowest) / 2
    # While replicas differ, the arm is what it was.
    arms.pinned = ("0.1", "9.5")
    opened.page.wait_for_timeout(2_500)
    expect(note).to_contain_text("weights old 0.1")
    arms.pinned = ("9.5", "9.5")
    expect(note).to_contain_text("arms: weights new live, weights old 9.5")
    expect(note).to_contain_text(re.compile(r":\d\d[^·]* weights old 0\.1 \u2192 9\.5"))
    # A mark over the whole height for the change, and a line at the upper edge from then on.
    until_drawn(opened, lambda rows: sum(row > 0 for row in rows) > len(rows) / 2)
    opened.at("#versions .chart").focus()
    for _ in range(60):
        opened.page.keyboard.press("ArrowLeft")
    expect(note).to_contain_text("arms: weights new live, weights old 0.1")
    assert opened.problems == []


def until_drawn(opened: Opened, drawn: Callable[[list[int]], bool]) -> list[int]:
    """The pixels of the time line by `GREEN`, as soon as they are as wanted."""

    for _ in range(600):
        found: list[int] = opened.page.evaluate(GREEN)
        if drawn(found):
            return found
        opened.page.wait_for_timeout(100)
    raise AssertionError(f"never drawn so: {found}")


def rows_of_lines(rows: list[int]) -> list[int]:
    """The rows that hold a line across, rather than a part of a text."""
    return [row for row, count in enumerate(rows) if count > 20]


def test_the_arms_of_an_answer_are_told(opened: Opened) -> None:
    def changed(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "arms": {"weights": "old"}})

    opened.page.route("**/v1/score", changed)
    opened.page.goto("/")
    expect(opened.at("#ranking-note")).to_contain_text("Arms: weights old.")
    assert opened.problems == []


def test_what_a_request_says_of_itself_is_typed_and_sent(opened: Opened) -> None:
    asked: list[dict[str, Any]] = []

    def described(route: Route) -> None:
        answer = route.fetch().json()
        optional = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
        answer["catalogue"]["context"] = {
            "type": "object",
            "properties": {"device": {"type": "string", "default": "phone"}, "visits": optional},
            "required": ["device"],
        }
        route.fulfill(json=answer)

    def recommended(route: Route) -> None:
        body = json.loads(route.request.post_data or "")
        asked.append(body.pop("context"))
        route.continue_(post_data=json.dumps(body))

    opened.page.route("**/v1/pipeline", described)
    opened.page.route("**/v1/recommend", recommended)
    opened.page.goto("/")
    opened.until_shown()
    assert asked[-1] == {"device": "phone"}
    opened.at("#context").get_by_label("device").fill("tablet")
    opened.at("#context").get_by_label("visits").fill("7")
    said = {"device": "tablet", "visits": 7}
    with opened.page.expect_request(
        lambda one: (
            one.url.endswith("/v1/recommend") and json.loads(one.post_data or "")["context"] == said
        )
    ):
        opened.page.keyboard.press("Enter")
    assert opened.problems == []


def test_a_key_is_asked_for_and_used(opened: Opened) -> None:
    held = list[Route]()

    def refuse(route: Route) -> None:
        error = {"field": "Authorization", "reason": "a key is needed"}
        route.fulfill(status=401, json={"error": error})

    def guarded(route: Route) -> None:
        if route.request.headers.get("authorization") == "Bearer secret":
            route.continue_()
        elif not held and route.request.url.endswith("/v1/status"):
            held.append(route)
        else:
            refuse(route)

    opened.page.route("**/v1/**", guarded)
    opened.page.goto("/")
    opened.page.get_by_label("API key").fill(" secret ")
    opened.page.keyboard.press("Enter")
    # A request that was under way says nothing of the key.
    (late,) = held
    refuse(late)
    opened.until_shown()
    assert opened.at("#key-form").is_hidden()


def test_a_lost_connection_is_told_and_ends(opened: Opened) -> None:
    opened.page.goto("/")
    opened.until_shown()
    opened.page.context.set_offline(True)
    expect(opened.at("#state")).to_have_text("no connection")
    expect(opened.at("#alerts")).to_contain_text("cannot be reached")
    opened.page.context.set_offline(False)
    expect(opened.at("#state")).to_have_text("ready")
    assert opened.at("#alerts").is_hidden()


def test_arrow_keys_go_back_in_time_on_all_charts(opened: Opened) -> None:
    opened.page.goto("/")
    opened.until_shown()
    events, lag = (
        opened.at(".tile").filter(has=opened.page.get_by_role("heading", name=name, exact=True))
        for name in ("Events", "Lag")
    )
    expect(events.locator("canvas")).to_be_visible()
    events.locator(".chart").focus()
    for _ in range(2):
        opened.page.keyboard.press("ArrowLeft")
    expect(events.locator(".under")).to_contain_text("ago")
    expect(lag.locator(".under")).to_contain_text("ago")
    opened.page.keyboard.press("Escape")
    expect(events.locator(".under")).to_contain_text("in all")
    assert opened.problems == []


@pytest.mark.parametrize(
    "opened",
    [(WIDE, "light"), (WIDE, "dark"), (PHONE, "light"), (PHONE, "dark"), (NARROWEST, "light")],
    indirect=True, ids=["wide-light", "wide-dark", "phone-light", "phone-dark", "narrow"],
)  # fmt: skip
def test_everything_fits_is_named_and_can_be_read(opened: Opened) -> None:
    opened.page.goto("/")
    opened.until_shown()
    wider = "document.documentElement.scrollWidth - innerWidth"
    assert opened.page.evaluate(wider) <= 0
    assert opened.page.evaluate(NAMELESS) == []
    assert opened.page.evaluate(PALE) == []
