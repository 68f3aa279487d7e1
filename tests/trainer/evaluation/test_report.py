"""The report of a small run, whose numbers were worked out by hand."""

import csv
import io
import json
from types import SimpleNamespace

import pytest

from schemas.evaluation import EvaluationRecipe
from trainer.evaluation.report import NAMES, finish

IP2P = {"editor": "ip2p", "ip2p": {"model": {"source": "m", "files": {"unet": "aa"}}}}
SDEDIT = {"editor": "sdedit", "sdedit": {"model": {"source": "n", "files": {"unet": "bb"}}}}
RECIPE = EvaluationRecipe(
    entrants=[
        {"name": "ip2p", "edits": IP2P, "sweep": {"parameter": "image_guidance", "values": (1, 2)}},
        {
            "name": "sdedit",
            "edits": SDEDIT,
            "sweep": {"parameter": "strength", "values": (0.4, 0.8)},
        },
    ],
    held_out={"count": 2, "digest": "dd"},
    clip={"source": "c", "files": {"clip": "cc"}},
    gates={"image": 0.7, "text": 0.2, "direction": 0.1},
    attempts=2,
)
# Of each point the means of two pictures: directional similarity, image similarity.
PLACES = {
    ("ip2p", 1): (0.3, 0.8),
    ("ip2p", 2): (0.1, 0.9),
    ("sdedit", 0.4): (0.15, 0.7),
    ("sdedit", 0.8): (0.35, 0.6),
}


def rows():
    for (name, value), (x, y) in PLACES.items():
        for attempt in range(2):
            for number in range(2):
                shift = 0.02 if number else -0.02
                yield {
                    "entrant": name,
                    "number": number,
                    "picture": f"{number:04d}",
                    "picture_sha256": f"{number}" * 64,
                    "attempt": attempt,
                    "image_guidance": value if name == "ip2p" else None,
                    "text_guidance": None,
                    "strength": value if name == "sdedit" else None,
                    "verdict": "scored",
                    "clip_sim_0": 0.25,
                    "clip_sim_1": 0.25,
                    "clip_sim_dir": x + shift,
                    "clip_sim_image": y + shift,
                    "l1": 0.1 * (number + 1),
                    "lpips": None,
                    "dino": None,
                    "edit_done": True,
                    "rest_kept": bool(number) and bool(attempt),
                    "place_kept": bool(attempt),
                    "true": bool(number) and bool(attempt),
                    "unchanged": False,
                    "unreadable": False,
                }


def made(rows=tuple(rows()), cut=3):
    run = SimpleNamespace(recipe=RECIPE, recipe_hash="ee" * 32)
    commits = [SimpleNamespace(rows=rows[n : n + cut]) for n in range(0, len(rows), cut)]
    return dict(finish(run, iter(commits)))


@pytest.fixture(scope="module")
def found():
    return made()


def test_the_same_outcomes_in_other_units_make_the_same_bytes(found):
    assert tuple(found) == NAMES
    assert made(cut=5) == found


def test_every_number_is_the_one_that_was_worked_out(found):
    report = json.loads(found["report.json"])
    first = report["points"][0]
    assert (first["entrant"], first["pictures"], first["edits"], first["failed"]) == (
        "ip2p",
        2,
        4,
        0,
    )
    assert first["setting"] == {"image_guidance": 1.0, "text_guidance": 7.5, "strength": None}
    assert first["clip_sim_dir"]["value"] == 0.3
    # Two pictures: a resample is one of them twice, or both.
    assert (first["clip_sim_dir"]["low"], first["clip_sim_dir"]["high"]) == (0.28, 0.32)
    assert first["l1"]["value"] == 0.15
    assert (first["lpips"], first["dino"]) == (None, None)
    # One attempt of one of two pictures: a quarter of the edits. Wilson for two trials: a centre of
    # (0.25 + 0.9604) / 2.9208, a half of 1.96 * 0.57779 / 2.9208.
    assert first["true"] == {"value": 0.25, "low": 0.02668, "high": 0.80214}
    assert [one["value"] for one in first["true_within"]] == [0.0, 0.5]
    # All pass by direction and text, and by image all of 0.8.
    assert first["passes"]["value"] == 1.0
    assert report["points"][2]["passes"]["value"] == 0.5
    assert report["points"][3]["passes"]["value"] == 0.0


def test_it_says_whose_curve_is_above(found):
    report = json.loads(found["report.json"])
    assert report["figures"] == {"above_sdedit": True}
    ours, theirs = report["above"]
    assert (ours["entrant"], ours["than"], ours["above"]) == ("ip2p", "sdedit", True)
    assert (ours["from"], ours["to"]) == (0.15, 0.3)
    # Slopes of -0.5 both: 0.875 - 0.7 at 0.15, and 0.8 - 0.625 at 0.3.
    assert ours["least_margin"]["value"] == 0.175
    assert (ours["least_margin"]["low"], ours["least_margin"]["high"]) == (0.175, 0.175)
    assert theirs["above"] is False


def test_it_says_who_keeps_more_where_as_many_edits_are_done(found):
    """By the oracle: from half of the edits done to all, ours keep all, theirs half and then none."""
    read = {
        ("ip2p", 1): ((True, True), (True, True)),
        ("ip2p", 2): ((False, True), (True, True)),
        ("sdedit", 0.4): ((False, False), (True, True)),
        ("sdedit", 0.8): ((True, False), (True, False)),
    }

    in_place = {"ip2p": (True, True), "sdedit": (True, False)}

    def word(row):
        value = row["image_guidance"] or row["strength"]
        done, kept = read[row["entrant"], value][row["number"]]
        place = in_place[row["entrant"]][row["number"]]
        return row | {"edit_done": done, "rest_kept": kept, "place_kept": place}

    report = json.loads(made(tuple(word(row) for row in rows()))["report.json"])
    ours, theirs = report["keeps_more"]
    assert (ours["entrant"], ours["above"], ours["from"], ours["to"]) == ("ip2p", True, 0.5, 1.0)
    assert ours["least_margin"]["value"] == 0.5
    assert theirs["above"] is False
    # Of the place alone ours keep all and theirs half, wherever as many edits are done.
    ours, theirs = report["keeps_place"]
    assert (ours["above"], ours["least_margin"]["value"], theirs["above"]) == (True, 0.5, False)
    # Of equal ones neither does.
    equal = json.loads(found["report.json"])
    assert not any(one["above"] for one in equal["keeps_more"] + equal["keeps_place"])


def test_it_says_where_every_number_is_from(found):
    origin = json.loads(found["report.json"])["provenance"]
    assert origin["recipe"] == "ee" * 32
    assert (origin["stage_version"], origin["oracle_version"]) == (2, 1)
    assert origin["held_out"]["digest"] == "dd"
    assert len({origin["editors"][name]["files"] for name in ("ip2p", "sdedit")}) == 2
    assert origin["editors"]["ip2p"]["steps"] == 100
    row = next(csv.DictReader(io.StringIO(found["table.csv"].decode())))
    assert row["editor_files"] == origin["editors"]["ip2p"]["files"]
    assert row["autoencoder_files"] == (origin["editors"]["ip2p"]["autoencoder"] or "")
    assert (row["lpips_files"], row["dino_files"]) == (origin["lpips"] or "", origin["dino"] or "")
    gates = {"image": 0.7, "text": 0.2, "direction": 0.1}
    assert {name: origin["gates"][name] for name in gates} == gates
    assert row["pictures_seen"] == origin["held_out"]["pictures"]
    assert float(row["clip_sim_image_low"]) == 0.78


def test_other_pictures_are_another_origin(found):
    others = [row | {"picture_sha256": "f" * 64} for row in rows()]
    report, changed = (json.loads(of["report.json"]) for of in (found, made(others)))
    assert report["provenance"]["held_out"] != changed["provenance"]["held_out"]
    assert report["points"] == changed["points"]


def test_an_unfinished_run_has_a_report_of_what_there_is(found):
    few = json.loads(made(tuple(rows())[:2])["report.json"])
    assert few["points"][0]["pictures"] == 2
    assert few["points"][2]["clip_sim_dir"] is None
    assert few["figures"] == {}
