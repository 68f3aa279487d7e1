"""The page in a real Chromium."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from factory.ledger.units.commits import read_commit
from factory.pairs.selection import Selection, failed_gates
from factory.pairs.source import Made, NotMade, draws
from factory.pairs.verify import candidates_of
from factory.report import report
from factory.report.columns import ACCEPTED
from schemas.candidate import Scores, Verdict
from schemas.recipe import Recipe
from schemas.triplet import Triplet
from tests.factory.report.browser import ABSENT, Browser, browsing
from tests.factory.report.runs import EVIL, GATES, Stepped, sealed
from tests.stub_source import triplets

pytestmark = pytest.mark.skipif(bool(ABSENT), reason=ABSENT)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run, and its page."""
    folder = tmp_path_factory.mktemp("report")
    run, plan = sealed(folder / "run", things=[EVIL, *triplets(23)])
    reading = report.read(run, plan)
    page = folder / "report.html"
    page.write_text(report.write(reading, report.ReportWish("runs/mine", rejected=5), Stepped))
    return run, plan, reading, page


@pytest.fixture(scope="module")
def window(tmp_path_factory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(window: Browser, made) -> Browser:
    window.look(1280, 900)
    window.open(made[3])
    return window


def selected(run, plan, gates: dict[str, float]) -> dict[str, str | None]:
    """By `factory/pairs/selection.py`: each candidate, and why it is no pair."""
    fields = run.recipe.model_dump() | {"keep": {"most": gates["most"]}}
    fields["thresholds"] = {name: gates[name] for name in GATES}
    recipe = Recipe.model_validate(fields)
    selection = Selection(recipe)
    empty = np.zeros((0, 0, 3), np.uint8)
    things = [Triplet.model_validate(row) for row in plan.all_items()]
    known = {
        (row.triplet_id, row.index): row
        for unit in plan.units
        for row in candidates_of(read_commit(run, unit))
    }
    for draw in (draw for triplet in things for draw in draws(recipe, triplet)):
        row = known[draw.triplet.triplet_id, draw.index]
        if row.verdict == Verdict.FAILED:
            selection.add(NotMade(draw, str(row.reason), truncated=False))
            continue
        scores = Scores(**{name: getattr(row, name) for name in Scores.model_fields})
        selection.add(Made(draw, empty, empty, scores, truncated=False))
    return {f"{row.triplet_id}-{row.index}": row.reason for row in selection.judged(things)[0]}


def test_it_keeps_by_any_gates_what_the_selection_does(browser, made):
    run, plan, *_ = made
    lot = random.Random(7)
    asked = [{**GATES, "most": 2}]
    # On the scores' own steps, where gates are met exactly, and between them.
    asked += [
        {
            **{name: lot.choice((0.1, 0.2, 0.3, 0.25, 0.55, -1.0)) for name in GATES},
            "borderline": 0.05,
            "most": lot.choice((1, 2, 3, 10)),
        }
        for _ in range(25)
    ]
    sizes = set()
    for gates in asked:
        told = browser.run("report.change(arguments[0]); return report.keptNames();", gates)
        wanted = [name for name, reason in selected(run, plan, gates).items() if reason is None]
        assert sorted(told) == sorted(wanted), gates
        sizes.add(len(wanted))
    assert len(sizes) > 10


def test_it_says_why_as_the_commits_do(browser, made):
    run, plan, *_ = made
    reasons = selected(run, plan, {**GATES, "most": 2})
    told = browser.run(
        "const {now} = report.state(), all = {};"
        "for (let i = 0; i < now.kept.length; i++) all[report.nameOf(i)] = "
        "now.kept[i] ? null : report.failing(i).join(); return all;"
    )
    assert told == {name: "failed" if r == "planted" else r for name, r in reasons.items()}
    assert {"keep", "failed", "clip_sim_dir"} <= set(told.values())


def test_its_own_figures_are_those_that_were_counted_here(browser, made):
    figures = made[2].figures.as_json()
    left = browser.run("return report.state().now.left")
    assert left == {name: figures["left"][name] for name in left}
    kinds = browser.run("return [...report.state().now.byKind]")
    assert kinds == [of["pairs"] for _, of in sorted(figures["by_kind"].items())]


def test_a_slider_recounts_everything(browser, made):
    run, plan, *_ = made
    script = (
        "const s = document.getElementById('gate-direction'); s.value = arguments[0];"
        "s.dispatchEvent(new Event('input', {bubbles: true}));"
    )
    before = browser.run("return document.getElementById('kinds').textContent")
    browser.run(script, 0.5)
    wanted = [r for r in selected(run, plan, {**GATES, "most": 2, "direction": 0.5}).values()]
    text = browser.run("return document.getElementById('outcome').textContent")
    assert text.startswith(f"{wanted.count(None)} pairs")
    order = browser.run("return document.getElementById('order').value")
    assert order == (
        "editmill select runs/mine --set recipe.thresholds.direction=0.5 --name ANY_NAME"
    )
    assert browser.run("return document.getElementById('kinds').textContent") != before
    browser.run("document.getElementById('reset').click()")
    assert browser.run("return document.getElementById('kinds').textContent") == before


def test_more_pairs_are_those_to_be_made_again(browser, made):
    columns = made[2].columns
    now = browser.run(
        "report.change({direction: 0, most: 10}); const {left, ...now} = report.state().now;"
        "return {kept: left.kept, remade: now.remade, reused: now.reused, dropped: now.dropped};"
    )
    assert now["reused"] == int((columns.state & ACCEPTED > 0).sum())
    assert now["remade"] == now["kept"] - now["reused"] > 0
    assert now["dropped"] == 0


def test_nothing_is_asked_of_a_network_and_strangers_words_stay_words(browser):
    assert browser.complaints() == []
    assert browser.run("return document.title") == "Report of runs/mine"
    browser.run(
        "document.querySelector('#filters input').value = 'onerror';"
        "document.querySelector('#filters input').dispatchEvent(new Event('input'))"
    )
    assert "onerror" in browser.run("return document.querySelector('.card').textContent")
    browser.run("document.querySelector('.card').click()")
    assert browser.run("return document.title") == "Report of runs/mine"
    assert browser.run("return performance.getEntriesByType('resource').length") == 0
    assert browser.complaints() == []


SET = """
for (const [label, value] of Object.entries(arguments[0])) {
  const labels = [...document.querySelectorAll('#filters label')];
  const node = labels.find(l => l.firstChild.textContent === label).querySelector('input, select');
  node.value = value;
  node.dispatchEvent(new Event('input'));
}
return report.state().found.map(report.nameOf);
"""


def test_the_gallery_finds_by_kind_reason_and_score_and_sorts(browser, made):
    run, plan, reading, _ = made
    rows = {
        f"{row.triplet_id}-{row.index}": row
        for unit in plan.units
        for row in candidates_of(read_commit(run, unit))
    }
    kinds = {
        Triplet.model_validate(item).triplet_id: item["edit_kind"] for item in plan.all_items()
    }
    number = sorted(reading.figures.as_json()["by_kind"]).index("shape")
    found = browser.run(SET, {"edit kind": str(number), "reason": "clip_sim_image"})
    assert set(found) == {
        name
        for name, row in rows.items()
        if kinds[row.triplet_id] == "shape" and "clip_sim_image" in (row.reason or "").split(",")
    }
    assert found
    found = browser.run(
        SET,
        {"edit kind": "", "reason": "", "verdict": "rejected", "where": "clip_sim_dir"}
        | {"from": 0.2, "to": 0.9, "order": "clip_sim_dir -1"},
    )
    assert set(found) == {
        name
        for name, row in rows.items()
        if row.verdict == Verdict.REJECTED and 0.2 <= row.clip_sim_dir <= 0.9
    }
    told = [rows[name].clip_sim_dir for name in found]
    assert told == sorted(told, reverse=True)
    assert len(set(told)) > 3
    found = browser.run(SET, {"verdict": "", "from": "", "to": "", "order": "p 1"})
    told = [np.float32(rows[name].p2p_threshold) for name in found]
    assert told == sorted(told)
    assert len(told) == len(rows)


def test_rejected_ones_that_were_made_again_are_seen_with_their_reason(browser, made):
    run = made[0]
    found = browser.run(SET, {"verdict": "rejected"})
    seen = browser.run(
        "return [...document.querySelectorAll('.card')].map(c => "
        "[c.querySelectorAll('img').length, c.querySelector('small').textContent])"
    )
    assert [count for count, _ in seen[:6]] == [2] * 5 + [0], "those with pictures stand first"
    assert all(reason for _, reason in seen)
    name, at = found[0].rsplit("-", 1)
    unit = [i for i in range(12) if name in str(read_commit(run, i).rows)][0]
    row = next(
        r for r in read_commit(run, unit).rows if (r["triplet_id"], r["index"]) == (name, int(at))
    )
    scores = Scores(**{name: row[name] for name in Scores.model_fields})
    words = {s["name"]: s["words"] for s in browser.run("return report.data.similarities")}
    for gate in failed_gates(scores, run.recipe.thresholds):
        assert words[gate] in seen[0][1]


ARROW_RIGHT, ENTER, ESCAPE = "\ue014", "\ue007", "\ue00c"


def test_it_is_used_by_keys_alone(browser):
    focus = "const a = document.activeElement; return a.id || a.dataset.number || a.tagName"
    browser.press("/")
    assert browser.run(focus) == "search"
    browser.run("document.querySelector('.card').focus()")
    browser.press(ARROW_RIGHT)
    assert browser.run(focus) == "1"
    browser.press(ENTER)
    assert browser.run("return document.getElementById('one').open")
    first = browser.run("return document.querySelector('#one code').textContent")
    browser.press(ARROW_RIGHT)
    assert browser.run("return document.querySelector('#one code').textContent") != first
    browser.press(ESCAPE)
    # The browser tells the page a moment later that it closed.
    until = time.monotonic() + 10
    while browser.run(focus) != "2" and time.monotonic() < until:
        time.sleep(0.05)
    assert not browser.run("return document.getElementById('one').open")
    assert browser.run(focus) == "2"
    browser.run("document.getElementById('gate-text').focus()")
    before = browser.run("return report.state().gates.text")
    browser.press(ARROW_RIGHT)
    assert browser.run("return report.state().gates.text") == pytest.approx(before + 0.001)


@pytest.mark.parametrize("width", [340, 700, 1000, 1600])
def test_no_window_is_too_narrow(browser, width):
    browser.look(width, 800)
    inside = "return [document.documentElement.scrollWidth, window.innerWidth]"
    scrolled, wide = browser.run(inside)
    assert scrolled <= wide == width


def test_it_is_dark_where_that_is_liked(browser):
    colour = "return getComputedStyle(document.body).backgroundColor"
    light = browser.run(colour)
    browser.look(1280, 900, "dark")
    assert browser.run(colour) != light
    assert contrast(browser) > 7
    browser.look(1280, 900, "light")
    assert contrast(browser) > 7


def contrast(browser: Browser) -> float:
    """Of text on paper, as WCAG 2 has it."""

    def lightness(property: str) -> float:
        told = browser.run(f"return getComputedStyle(document.body).{property}")
        parts = [int(v) / 255 for v in told.removeprefix("rgb(").removesuffix(")").split(",")]
        linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    one, other = lightness("color"), lightness("backgroundColor")
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def test_a_sample_tells_its_interval(window, made, tmp_path: Path):
    run, plan, whole, _ = made
    reading = report.read(run, plan, most=120)
    page = tmp_path / "sample.html"
    page.write_text(report.write(reading, report.ReportWish("runs/mine"), Stepped))
    window.open(page)
    n, of = len(reading.columns.items), 24
    judged = window.run("report.change({direction: 0.7}); return [...report.state().now.kept]")
    kept = np.array(judged).reshape(n, 10).sum(axis=1)
    assert kept.var() > 0
    half = 1.96 * of * np.sqrt((1 - n / of) * kept.var(ddof=1) / n)
    wanted = [of * kept.mean() - half, of * kept.mean() + half]
    told = window.run(
        "const {now} = report.state(); return report.interval(now.left.kept, now.squares)"
    )
    assert told == pytest.approx(wanted)
    text = window.run("return document.getElementById('outcome').textContent")
    assert "95 % between" in text
    window.run("document.getElementById('reset').click()")
    assert "select --dry-run" in window.run("return document.querySelector('aside').textContent")
    # What the run itself kept is known exactly.
    pairs = whole.figures.counted.pairs
    assert str(pairs) in window.run("return document.getElementById('numbers').textContent")
