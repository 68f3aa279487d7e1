"""What a report reads of a run, and the file that it writes."""

import json
import re
from unittest.mock import patch

import numpy as np
import pytest
from typer.testing import CliRunner

from editmill import app
from factory.errors import InputError
from factory.ledger.status import status
from factory.pairs.recount import passes_gates
from factory.report import gallery, report
from factory.report.columns import ACCEPTED, FAILED
from tests.factory.report.runs import EVIL, Stepped, sealed
from tests.stub_source import StubSource, triplets


def data_of(page: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_the_figures_are_those_of_the_ledger(tmp_path):
    run, plan = sealed(tmp_path)
    found, state = report.read(run, plan).figures.as_json(), status(run, plan)
    assert found["pairs"] == found["left"]["kept"] == state.counts["accepted"]
    assert found["failed"] == state.counts["failed"]
    assert found["left"]["candidates"] == state.outcomes == 200
    assert found["left"]["made"] == state.outcomes - state.counts["failed"]
    below = {name: n for name, n in state.tally.reasons.items() if name != "keep"}
    assert found["failing"] == below
    assert found["left"]["clip_sim_image"] - found["pairs"] == state.tally.reasons["keep"]
    assert found["by_kind"] == {
        kind: {"candidates": sum(of.values()), "pairs": of["accepted"]}
        for kind, of in state.tally.by_kind.items()
    }


@pytest.mark.parametrize("source", [Stepped, StubSource], ids=["with ties", "without"])
def test_candidates_stand_best_first(tmp_path, source):
    run, plan = sealed(tmp_path, source=source)
    columns = report.read(run, plan).columns
    passes = passes_gates(columns.similarities, run.recipe.thresholds)
    first = passes & (np.cumsum(passes, axis=1) <= run.recipe.keep.most)
    assert (first == (columns.state & ACCEPTED != 0)).all()
    assert first.any()
    for state in columns.state & FAILED:
        assert (np.diff(state.astype(int)) >= 0).all(), "those that failed stand last"


def test_a_long_run_is_shown_by_whole_triplets_that_a_hash_draws(tmp_path):
    run, plan = sealed(tmp_path)
    whole, part = report.read(run, plan).columns, report.read(run, plan, most=100).columns
    assert not whole.is_sample
    assert part.is_sample
    assert (part.of_triplets, whole.of_triplets) == (20, 20)
    assert 0 < len(part.items) < 20
    assert set(part.triplet_ids) < set(whole.triplet_ids)
    rows = [whole.triplet_ids.index(name) for name in part.triplet_ids]
    assert (whole.index[rows] == part.index).all()
    assert (whole.p[rows] == part.p).all()
    assert list(part.failures.values()) == ["planted"] * int((part.state & FAILED > 0).sum())
    again = report.read(run, plan, most=100).columns
    assert again.triplet_ids == part.triplet_ids


def test_what_was_drawn_is_told_as_commits_hold_it(tmp_path):
    run, plan = sealed(tmp_path)
    columns = report.read(run, plan).columns
    from factory.ledger.units.commits import read_commit

    held = {
        (row["triplet_id"], row["index"]): (row["p2p_threshold"], row["cfg_scale"], row["reason"])
        for unit in plan.units
        for row in read_commit(run, unit).rows
    }
    for t, name in enumerate(columns.triplet_ids):
        for c in range(10):
            p, guidance, reason = held[name, int(columns.index[t, c])]
            assert columns.p[t, c] == np.float32(p)
            assert columns.guidance[t, c] == np.float32(guidance)
            assert columns.failures.get(t * 10 + c) == (reason if reason == "planted" else None)


def test_rejected_ones_are_drawn_of_each_reason(tmp_path):
    run, plan = sealed(tmp_path)
    columns = report.read(run, plan).columns
    rejected = columns.state == 0
    gates = run.recipe.thresholds
    limits = np.array([gates.text, gates.text, gates.direction, gates.image])
    failing = columns.similarities < limits[:, None, None]
    reasons = {tuple(row) for row in failing[:, rejected].T.tolist()}
    places = gallery.of_each_reason(columns, gates, len(reasons))
    assert rejected.flat[places].all()
    assert len(set(places)) == len(places) == len(reasons) > 4
    assert {tuple(failing.reshape(4, -1)[:, place].tolist()) for place in places} == reasons


def test_what_is_made_again_looks_as_what_was_kept(tmp_path):
    run, plan = sealed(tmp_path)
    reading = report.read(run, plan)
    pairs = np.flatnonzero(reading.columns.state & ACCEPTED).tolist()
    kept = gallery.kept_pictures(run, reading.manifest, reading.columns, pairs)
    remade = gallery.remade_pictures(run.recipe, reading.columns, pairs, Stepped)
    assert [kept[place]["pictures"] for place in pairs] == [
        remade[place]["pictures"] for place in pairs
    ]
    assert not any("scores" in one for one in remade.values())
    # The engine elsewhere: other scores are told, not taken.
    elsewhere = gallery.remade_pictures(run.recipe, reading.columns, pairs[:1], StubSource)
    assert len(elsewhere[pairs[0]]["scores"]) == 4


def test_the_page_is_one_file_that_names_no_other(tmp_path):
    run, plan = sealed(tmp_path, things=[EVIL, *triplets(5)])
    page = report.write(report.read(run, plan), report.ReportWish("runs/mine", rejected=3), Stepped)
    bare = page.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|\bsrc=\"(?!data:)|<link|@import|url\(", data_free(bare))
    assert page.count("<script>") == 1
    data = data_of(page)
    assert data["triplets"][0][1:4] == [EVIL.original_prompt, EVIL.edit_prompt, EVIL.edited_prompt]
    assert len(data["pictures"]) == data["figures"]["pairs"] + 3


def data_free(page: str) -> str:
    """Without what came of a list, which may say anything."""
    return re.sub(r'id="data">.*?</script>', "", page, flags=re.DOTALL)


def test_the_command_writes_the_page_and_tells_machines_of_it(tmp_path):
    run, plan = sealed(tmp_path / "run")
    words = ["report", str(tmp_path / "run"), "--out", str(tmp_path / "page"), "--json"]
    name = f"{triplets(1)[0].triplet_id}-3"
    with patch("factory.verbs.machine.engine", lambda recipe, compute: Stepped()):
        done = CliRunner().invoke(
            app, [*words, "--with-rejected", "4", "--candidate", name, "--price-per-gpu-hour", "2"]
        )
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    page = (tmp_path / "page" / "report.html").read_text()
    assert said["bytes"] == len(page.encode())
    assert said["pairs"] == status(run, plan).counts["accepted"]
    assert said["cost"]["cost"] == 2 * said["cost"]["worker_hours"]
    data = data_of(page)
    first = data["pictures"][0][0]
    columns = report.read(run, plan).columns
    assert f"{columns.triplet_ids[first // 10]}-{columns.index.flat[first]}" == name


def test_a_candidate_that_is_none_is_refused(tmp_path):
    run, plan = sealed(tmp_path)
    reading = report.read(run, plan)
    for name in ("nothing", "1234-0", f"{reading.columns.triplet_ids[0]}-10"):
        with pytest.raises(InputError, match=f"--candidate {name}: must be a triplet"):
            report.write(reading, report.ReportWish("run", candidates=(name,)), Stepped)
