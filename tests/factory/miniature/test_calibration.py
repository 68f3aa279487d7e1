"""The gates are chosen where they hold, and nowhere else. Pure: made-up scores and judgements."""

import random

import pytest

from factory.miniature import world
from factory.miniature.calibration import (
    Judged,
    NotCalibrated,
    accepted,
    choose,
    figures,
    score_ranges,
    table,
    triplet_sets,
)
from factory.miniature.oracle import Judgement
from factory.pairs.source import Draw
from factory.pairs.triplets import read_triplets
from schemas.candidate import Scores
from schemas.recipe import Thresholds
from schemas.triplet import Triplet

OFF = Thresholds(image=-1, text=-1, direction=-1)


def judged(
    triplet: int, index: int, *, text: float, direction: float, true: bool, kind: str = "colour"
) -> Judged:
    words = Triplet(
        original_prompt=f"before {triplet}",
        edit_prompt="edit",
        edited_prompt=f"after {triplet}",
        edit_kind=kind,
    )
    return Judged(
        Draw(triplet=words, index=index, seed=index, p=0.5, guidance=3.0),
        Scores(clip_sim_0=text, clip_sim_1=text, clip_sim_dir=direction, clip_sim_image=0.5),
        Judgement(edit_done=true, rest_kept=true, place_kept=true),
    )


def a_run(*, telling: bool, kinds: tuple[str, ...] = world.EDIT_KINDS) -> list[Judged]:
    """200 triplets of 4; half are true, and only a telling CLIP scores those higher."""
    rng = random.Random(1)
    found = []
    for triplet in range(200):
        for index in range(4):
            true = rng.random() < 0.5
            score = rng.uniform(0.5, 0.8) + (0.15 if telling and true else 0)
            found.append(
                judged(
                    triplet,
                    index,
                    text=score,
                    direction=score,
                    true=true,
                    kind=kinds[triplet % len(kinds)],
                )
            )
    return found


def test_a_run_would_keep_the_best_few_of_each_triplet_that_pass():
    three = [judged(0, i, text=0.9, direction=d, true=True) for i, d in enumerate((0.2, 0.5, 0.4))]
    failing = judged(0, 3, text=0.1, direction=0.9, true=True)
    gates = Thresholds(image=-1, text=0.5, direction=0.1)
    assert [j.draw.index for j in accepted([*three, failing], gates, 2)] == [1, 2]


def test_figures_count_what_passes_and_what_of_the_accepted_is_true():
    run = [
        judged(0, 0, text=0.9, direction=0.9, true=True),
        judged(0, 1, text=0.9, direction=0.8, true=False, kind="colour"),
        judged(1, 0, text=0.9, direction=0.7, true=True, kind="shape"),
        judged(1, 1, text=0.1, direction=0.9, true=False, kind="shape"),
    ]
    found = figures(run, Thresholds(image=-1, text=0.5, direction=0.1), most=1)
    assert found["passing"] == 0.75
    assert found["accepted"] == 2
    assert found["accepted_true"] == 1.0
    assert found["true_before_gates"] == 0.5
    assert found["part_of_accepted"] == {"colour": 0.5, "shape": 0.5}


def test_the_chosen_gates_reach_the_goal_and_take_as_many_as_they_can():
    run = a_run(telling=True)
    chosen, reached = choose(run, most=4, goal=0.95, borderline=0.001)
    found = figures(run, chosen, 4)
    assert reached
    assert found["accepted_true"] >= 0.95
    assert 0.05 <= found["passing"] <= 0.60
    assert found["passing"] > 0.15  # not just the very best
    assert chosen.borderline == 0.001


def test_a_clip_that_tells_nothing_is_said_to_be_so_and_its_best_gates_are_given():
    run = a_run(telling=False)
    chosen, reached = choose(run, most=4, goal=0.95, borderline=0)
    assert not reached
    assert figures(run, chosen, 4)["accepted_true"] >= figures(run, OFF, 4)["accepted_true"]


def test_gates_that_starve_edit_kinds_are_not_chosen():
    with pytest.raises(NotCalibrated, match="got no such gates"):
        choose(
            a_run(telling=True, kinds=("colour", "shape", "size")), most=4, goal=0.95, borderline=0
        )


def test_the_table_shows_each_gate_by_itself():
    run = a_run(telling=True)
    rows = {row["gates"]: row for row in table(run, choose(run, 4, 0.95, 0)[0], 4)}
    assert rows["no gate"]["passing"] == 1.0
    assert rows["all"]["accepted_true"] > rows["no gate"]["accepted_true"]


def test_score_ranges_are_the_5th_and_95th_percentile():
    run = [judged(0, i, text=i / 100, direction=0.5, true=True) for i in range(101)]
    assert score_ranges(run)["clip_sim_0"] == [0.05, 0.95]


def test_gates_are_reported_on_triplets_that_they_were_not_chosen_on():
    sets = [*triplet_sets(100), read_triplets("miniature").triplets]
    words = [{(t.original_prompt, t.edited_prompt) for t in triplets} for triplets in sets]
    assert [len(part) for part in words] == [100, 100, 200]
    assert len(set.union(*words)) == 400
    assert {t.edit_kind for t in sets[1]} == set(world.EDIT_KINDS)
