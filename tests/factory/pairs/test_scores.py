"""The scores of a sealed segment, and the rule of selection over columns of them."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from editmill import app
from factory.errors import Damaged
from factory.ledger import keys
from factory.ledger.manifest import newest_manifest
from factory.ledger.plan import read_plan, write_plan
from factory.ledger.run import create_run, open_run
from factory.pairs.recount import Recount, kept
from factory.pairs.scores import SIMILARITIES, ScoredTriplets, items_of, lay_scores, sealed_scores
from factory.pairs.selection import Selection
from factory.pairs.source import Made, NotMade, draws
from factory.storage.local import LocalStore
from schemas.candidate import Scores, Verdict
from schemas.config import Config
from tests.making import generate_unit, run_here, run_job
from tests.stub_source import StubSource, recipe, triplets


def sealed(root: Path, count: int = 7, **fields):
    run = create_run(LocalStore(root), recipe(**fields))
    plan = write_plan(run, triplets(count), run.recipe.unit_triplets)
    config = Config.model_validate({"recipe": run.recipe.model_dump()})
    result = run_job(run, plan, config, run_here(lambda _: StubSource()))
    assert result.sealed
    return run, plan, result.sealed


def files(root: Path, folder: str) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((root / folder).rglob("*"))
        if path.is_file()
    }


def test_sealing_lays_the_scores_of_each_segment_down(tmp_path, monkeypatch):
    monkeypatch.setattr(keys, "SEGMENT_UNITS", 2)
    run, plan, manifest = sealed(tmp_path)
    there = files(tmp_path, "scores")
    assert sorted(there) == [keys.scores(part.key) for part in manifest.parts]
    assert len(there) == 2
    rows = 0
    for part, scored in zip(manifest.parts, sealed_scores(run, plan, manifest), strict=True):
        assert len(scored) <= part.units * 2
        rows += scored.failed.size
    assert rows == 7 * 12


def test_a_snapshot_by_hand_has_its_scores_too(tmp_path):
    run = create_run(LocalStore(tmp_path), recipe())
    plan = write_plan(run, triplets(7), 2)
    for unit in (0, 2):
        generate_unit(run, plan, unit, StubSource())
    assert CliRunner().invoke(app, ["seal", str(tmp_path), "--partial"]).exit_code == 0
    (part,) = newest_manifest(run)[1].parts
    assert list(files(tmp_path, "scores")) == [keys.scores(part.key)]
    (scored,) = sealed_scores(run, plan, newest_manifest(run)[1])
    assert scored.units.tolist() == [0, 0, 2, 2]


def test_scores_that_are_lost_are_laid_down_as_they_were(tmp_path):
    run, plan, manifest = sealed(tmp_path)
    before = files(tmp_path, "scores")
    for name in before:
        (tmp_path / name).unlink()
    assert lay_scores(run, plan, manifest) == len(before)
    assert files(tmp_path, "scores") == before
    assert lay_scores(run, plan, manifest) == 0


def test_a_changed_byte_of_scores_is_noticed(tmp_path):
    run, plan, manifest = sealed(tmp_path)
    (name,) = files(tmp_path, "scores")
    data = bytearray((tmp_path / name).read_bytes())
    data[40] ^= 1
    (tmp_path / name).write_bytes(data)
    with pytest.raises(Damaged, match="not the scores of a segment: .* remove it"):
        list(sealed_scores(run, plan, manifest))


def test_the_scores_hold_what_the_commits_do(tmp_path):
    run, plan, manifest = sealed(tmp_path)
    (scored,) = sealed_scores(open_run(str(tmp_path)), plan, manifest)
    assert [row["original_prompt"] for row in items_of(plan, scored)] == [
        triplet.original_prompt for triplet in triplets(7)
    ]
    assert scored.units.tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert set(scored.failures.values()) == {"planted"}
    assert len(scored.failures) == scored.failed.sum()
    counted = Recount()
    mask = counted.add(scored, run.recipe, np.array(["all"] * len(scored), object))
    assert (mask == scored.accepted).all()
    assert counted.pairs == counted.reused == manifest.counts["accepted"]
    assert (counted.remade, counted.dropped) == (0, 0)
    assert counted.failed == manifest.counts["failed"] > 0
    assert counted.by_kind == {"all": {"candidates": 84, "pairs": counted.pairs}}
    assert newest_manifest(run)[1] == manifest
    assert read_plan(run).record == plan.record


LEVELS = st.sampled_from([0.0, 0.1, 0.2, 0.3, 1.0])
"""Few, so that gates are met exactly and rivals tie."""


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.none() | st.tuples(*[LEVELS] * 4), min_size=5, max_size=5), max_size=4),
    *[LEVELS] * 3,
    st.integers(1, 6),
)
def test_columns_are_judged_as_candidates_are(given_scores, text, direction, image, most):
    gates = {"text": text, "direction": direction, "image": image}
    ours = recipe(candidates=5, thresholds=gates, keep={"most": most})
    things, selection = triplets(len(given_scores)), Selection(ours)
    empty = np.zeros((0, 0, 3), np.uint8)
    for triplet, of in zip(things, given_scores, strict=True):
        for draw, row in zip(draws(ours, triplet), of, strict=True):
            if row is None:
                selection.add(NotMade(draw, "planted", truncated=False))
                continue
            scores = Scores(**dict(zip(SIMILARITIES, row, strict=True)))
            selection.add(Made(draw, empty, empty, scores, truncated=False))
    rows = selection.judged(things)[0]
    shape = (len(things), 5)
    nothing = (np.nan,) * 4
    values = [of or nothing for all_of in given_scores for of in all_of]
    scored = ScoredTriplets(
        units=np.zeros(len(things), int),
        triplet_ids=np.array([t.triplet_id for t in things], object),
        similarities=np.array(values).reshape(-1, 4).T.reshape(4, *shape),
        accepted=np.zeros(shape, bool),
    )
    wanted = [row.verdict == Verdict.ACCEPTED for row in rows]
    assert kept(scored, ours).ravel().tolist() == wanted
