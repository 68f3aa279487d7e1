import io

import numpy as np
import pytest
from PIL import Image

from factory.pairs.selection import Selection, failed_gates
from factory.pairs.source import Made, NotMade, draws
from factory.pictures import encode
from schemas.candidate import Scores, Verdict
from schemas.recipe import Codec, Thresholds
from tests.stub_source import StubSource, recipe, triplets

GATES = Thresholds(image=0.7, text=0.2, direction=0.2)


def scores(zero=0.5, one=0.5, direction=0.5, image=0.9):
    return Scores(clip_sim_0=zero, clip_sim_1=one, clip_sim_dir=direction, clip_sim_image=image)


def made(of, index, **similarities):
    draw = draws(of, triplets(1)[0])[index]
    picture = np.full((8, 8, 3), index, np.uint8)
    return Made(draw, picture, picture, scores(**similarities), truncated=False)


def test_gates_are_inclusive_and_named():
    assert failed_gates(scores(0.2, 0.2, 0.2, 0.7), GATES) == []
    assert failed_gates(scores(0.19, 0.2, 0.2, 0.7), GATES) == ["clip_sim_0"]
    assert failed_gates(scores(0.2, 0.1, 0.1, 0.6), GATES) == [
        "clip_sim_1",
        "clip_sim_dir",
        "clip_sim_image",
    ]


def test_best_by_direction_then_seed_are_kept_and_the_rest_says_so():
    of = recipe(thresholds=GATES, keep={"most": 2})
    selection = Selection(of)
    directions = [0.3, 0.9, 0.5, 0.5, 0.1]
    for index, direction in enumerate(directions):
        selection.add(made(of, index, direction=direction))
    rows, pairs = selection.result(triplets(1))
    tie = max((2, 3), key=lambda index: rows[index].seed)
    assert [row.index for row in rows if row.verdict == Verdict.ACCEPTED] == sorted([1, tie])
    assert [pair.index for pair in pairs] == sorted([1, tie])
    reasons = {row.index: row.reason for row in rows}
    assert reasons[0] == "keep"
    assert reasons[4] == "clip_sim_dir"
    assert reasons[1] is None


def test_every_candidate_is_a_row_in_order_whatever_the_order_of_outcomes():
    of, wanted = recipe(), triplets(3)
    results = []
    for backwards in (False, True):
        selection = Selection(of)
        outcomes = list(StubSource().pairs([d for t in wanted for d in draws(of, t)]))
        for outcome in reversed(outcomes) if backwards else outcomes:
            selection.add(outcome)
        results.append(selection.result(wanted))
    assert results[0] == results[1]
    rows, pairs = results[0]
    assert [(r.triplet_id, r.index) for r in rows] == [
        (t.triplet_id, i) for t in wanted for i in range(of.candidates)
    ]
    assert {r.verdict for r in rows} == set(Verdict)
    assert 0 < len(pairs) < len(rows)


def test_failed_candidate_keeps_its_reason_and_no_scores():
    of = recipe()
    selection = Selection(of)
    selection.add(NotMade(draws(of, triplets(1)[0])[0], "not finite", truncated=True))
    (row,), pairs = selection.result(triplets(1))
    assert (row.verdict, row.reason, row.clip_sim_dir, row.truncated) == (
        Verdict.FAILED,
        "not finite",
        None,
        True,
    )
    assert pairs == []


def test_score_near_a_gate_is_borderline_on_both_sides():
    of = recipe(thresholds={"image": 0.7, "text": 0.2, "direction": 0.2, "borderline": 0.01})
    selection = Selection(of)
    for index, image in enumerate((0.695, 0.705, 0.75)):
        selection.add(made(of, index, image=image))
    rows, _ = selection.result(triplets(1))
    assert [row.borderline for row in rows] == [True, True, False]


@pytest.mark.parametrize("codec", [Codec(format="png"), Codec(format="jpeg", quality=100)])
def test_codec_gives_the_same_bytes_and_carries_nothing_else(codec):
    picture = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    data = encode(picture, codec)
    assert data == encode(picture.copy(), codec)
    image = Image.open(io.BytesIO(data))
    assert not image.getexif()
    assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    if codec.format == "png":
        assert np.array_equal(np.asarray(image), picture)
    else:
        assert image.layer[0][1:3] == image.layer[1][1:3] == (1, 1)  # 4:4:4
