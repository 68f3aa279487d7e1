"""The stage `evaluate`: what is listed, what becomes of each, and that a broken off run is gone on with."""

import csv
import io
import json
import weakref
from threading import Thread
from types import SimpleNamespace

import pytest

from factory.edits.edit import Edited
from factory.errors import ConfigError
from factory.ledger.manifest import manifest_hash, newest_manifest
from factory.ledger.plan import read_plan
from factory.ledger.run import open_run
from factory.ledger.seal import seal
from schemas.editors import Ip2p
from schemas.evaluation import Entrant, EvaluationItem, EvaluationRecipe, Sweep
from tests.chaos.command import command, undisturbed_run
from tests.chaos.stores.memory_store import MemoryStore
from tests.chaos.subjects.evaluating import NumberedEditors, Sums, scenes_of
from tests.chaos.subjects.subject import small
from tests.factory.edits.editors.test_editors import item as edit_item
from tests.factory.edits.editors.test_editors import scene, studio
from trainer.evaluation.held_out import Task, Unreadable
from trainer.evaluation.prepare import pinned
from trainer.evaluation.report import NAMES
from trainer.evaluation.stage import EvaluationMaker, first_pictures, items_of, seed_of
from trainer.evaluation.studios import Studios
from trainer.evaluation.verb import _finish

SUBJECT = small("evaluate", units=4)
IP2P = {"ip2p": {"model": {"source": "m"}}}


def finished(store):
    """What its manifest names, by name."""
    run = open_run(store)
    _, sealed = newest_manifest(run)
    return [store.get(one.key) for one in sealed.objects], manifest_hash(run, sealed)


def in_peace():
    """The same by a run that is left in peace."""
    store = MemoryStore()
    assert command(SUBJECT, store).exit_code == 0
    return finished(store)


def test_a_run_that_is_broken_off_is_gone_on_with_and_seals_the_same():
    made = []
    store = MemoryStore()
    for limit in (1, 3, None):
        result = command(SUBJECT, store, lambda item, _: made.append(item), limit=limit)
        assert result.exit_code == 0
    assert len(made) == len(set(made)) == 4 * SUBJECT.unit_items
    assert finished(store) == in_peace()
    assert len(finished(store)[0]) == len(NAMES)


def test_a_killed_worker_costs_its_unit_alone():
    store, made = MemoryStore(), []

    def dies(item, _):
        if len(made) == SUBJECT.unit_items + 1:
            raise KeyboardInterrupt
        made.append(item)

    with pytest.raises(KeyboardInterrupt):
        command(SUBJECT, store, dies)
    again = []
    assert command(SUBJECT, store, lambda item, _: again.append(item)).exit_code == 0
    assert not set(made[: SUBJECT.unit_items]) & set(again)
    assert finished(store) == in_peace()


def test_a_run_is_sealed_again_by_who_knows_no_stage():
    store = undisturbed_run(SUBJECT)
    run = open_run(store)
    assert isinstance(run.recipe, dict)
    sequence, _ = newest_manifest(run)
    assert seal(run, read_plan(run), finish=_finish)[0] == sequence


def test_the_table_has_a_row_a_point_and_says_where_it_is_from():
    store = undisturbed_run(SUBJECT)
    data = next(d for k, d in store.objects.items() if k.startswith("finish/table"))
    rows = list(csv.DictReader(io.StringIO(data.decode())))
    assert [(row["entrant"], row["image_guidance"]) for row in rows] == [
        ("tiny", "1.0"),
        ("tiny", "1.5"),
    ]
    assert {row["recipe"] for row in rows} == {open_run(store).recipe_hash}
    assert {row["held_out"] for row in rows} == {SUBJECT.recipe.held_out.digest}
    assert {row["versions"] for row in rows} == {"evaluate 2, oracle 1"}
    assert all(len(row["pictures_seen"]) == 64 for row in rows)
    assert float(rows[0]["l1"]) == pytest.approx(float(rows[0]["l1_low"]), abs=0.5)


def recipe(**fields):
    sweep = Sweep(parameter="image_guidance", values=(1.0, 1.2))
    entrants = (Entrant(name="a", edits=IP2P, sweep=sweep), Entrant(name="b", edits=IP2P))
    return EvaluationRecipe(entrants=entrants, clip={"source": "c"}, **fields)


TASKS = [Task(number, str(number), None, "do it", None, None) for number in range(3)]


def test_every_picture_is_listed_at_every_setting_for_every_attempt():
    items = items_of(recipe(attempts=2), TASKS)
    assert len(items) == len({item.item_id for item in items}) == 3 * 3 * 2
    assert [item.entrant for item in items] == ["a"] * 12 + ["b"] * 6
    assert {item.point for item in items} == {"image_guidance=1", "image_guidance=1.2", "own"}


def test_an_editor_that_inverts_is_asked_picture_by_picture():
    """So that a unit's edits share what is found of a picture."""
    pnp = {"editor": "pnp", "pnp": {"model": {"source": "m"}}}
    sweep = Sweep(parameter="text_guidance", values=(2.0, 5.0))
    entrants = (Entrant(name="a", edits=pnp, sweep=sweep),)
    items = items_of(EvaluationRecipe(entrants=entrants, clip={"source": "c"}, attempts=2), TASKS)
    assert [item.number for item in items] == [0] * 4 + [1] * 4 + [2] * 4
    assert len({item.item_id for item in items}) == 12


def test_noise_is_the_same_for_all_editors_and_settings_and_another_for_each_attempt():
    items = items_of(recipe(attempts=2), TASKS)
    by = {(item.number, item.attempt): set() for item in items}
    for item in items:
        by[item.number, item.attempt].add(item.seed)
    assert all(len(seeds) == 1 for seeds in by.values())
    assert len({seed for seeds in by.values() for seed in seeds}) == 6
    # As `evaluate` numbered its pictures before it was a stage.
    assert [seed_of(recipe(), task, 0) for task in TASKS] == [0, 1, 2]
    assert seed_of(recipe(seed=1), TASKS[0], 0) > 2**32


def test_an_editor_is_told_all_that_it_is_swept_over():
    item = items_of(recipe(), TASKS)[3]
    told = item.asked("ip2p")
    assert (told.editor, told.image_guidance, told.seed) == ("ip2p", 1.2, 0)
    assert (told.text_guidance, told.strength, told.instruction) == (None, None, "do it")


class Failing(NumberedEditors):
    def edit(self, asked):
        for place, edited in super().edit(asked):
            yield place, Edited(None, "not finite", {}) if place == 0 else edited


def test_what_cannot_be_opened_or_made_is_a_failed_row():
    run = SimpleNamespace(recipe=SUBJECT.recipe)
    items = [item.model_dump() for item in SUBJECT.items(2)]

    class Some:
        def open(self, item):
            if item.number == 1:
                raise Unreadable("no such picture")
            return scenes_of(SUBJECT.recipe.held_out.count).open(item)

    compute = SUBJECT.terms().compute
    studios = Studios(lambda entrant: Failing(0), lambda: None)
    maker = EvaluationMaker(run, compute, Some(), studios, Sums(0))
    outcomes = maker.make(0, items)
    assert [(row.number, row.verdict, row.reason) for row in outcomes.rows] == [
        (0, "failed", "not finite"),
        (1, "failed", "no such picture"),
        (2, "scored", None),
        (3, "scored", None),
    ]
    assert outcomes.tally.total == {"scored": 2, "failed": 2}
    assert outcomes.rows[0].picture_sha256 is not None
    assert set(outcomes.tally.by_kind) == {item["kind"] for item in items}


def entrant(name):
    return Entrant(name=name, edits=IP2P)


def test_an_entrants_editors_are_let_go_before_anothers_are_made():
    there, most = set(), []

    class Heavy:
        rows_run = 5

        def __init__(self, one):
            there.add(one.name)
            most.append(set(there))
            weakref.finalize(self, there.discard, one.name)

    freed = []
    studios = Studios(Heavy, lambda: freed.append(set(there)))
    for name in ("a", "a", "b", "a"):
        with studios.of(entrant(name)) as editors:
            assert isinstance(editors, Heavy)
        del editors
    assert most == [{"a"}, {"b"}, {"a"}]
    assert freed == [set(), set()]
    assert studios.rows_run == 15


def test_what_an_engine_holds_goes_with_its_editors():
    """Its thread would hold it for ever."""
    unets = []

    def make(_):
        made = studio(ip2p=Ip2p(model={"source": "miniature/editor"}, steps=1))
        unets.append(weakref.ref(made.editor("ip2p").networks.unet))
        return made

    studios = Studios(make, lambda: None)
    for name in ("a", "b"):
        with studios.of(entrant(name)) as editors:
            ((_, edited),) = editors.edit([(edit_item(), scene())])
            assert edited.picture is not None
            del editors
    assert [there() is None for there in unets] == [True, False]
    studios.close()
    assert [there() is None for there in unets] == [True, True]


def test_an_entrant_waits_while_another_is_at_work():
    studios, order = Studios(lambda one: one.name, lambda: None), []

    def work(name):
        with studios.of(entrant(name)) as editors:
            order.append(editors)

    with studios.of(entrant("a")):
        other = Thread(target=work, args=("b",))
        other.start()
        work("a")
        other.join(0.2)
        assert other.is_alive()
    other.join(10)
    assert order == ["a", "b"]


def test_a_pipelines_calls_are_compared_by_the_runs_own_pictures():
    run = open_run(undisturbed_run(SUBJECT))
    (one,) = SUBJECT.recipe.entrants
    pictures = scenes_of(SUBJECT.recipe.held_out.count)
    found = first_pictures(run, pictures, one)
    first = [EvaluationItem.model_validate(row) for row in read_plan(run).all_items()][:4]
    assert [item for item, _ in found] == [item.asked("ip2p") for item in first]
    assert all(
        (picture == pictures.open(item)).all()
        for item, (_, picture) in zip(first, found, strict=True)
    )
    assert first_pictures(run, pictures, entrant("other")) == []


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ({"parameter": "strength", "values": [0.5]}, "over a setting of ip2p, got strength"),
        ({"parameter": "image_guidance", "values": [1, 1]}, "must be distinct"),
        ({"parameter": "image_guidance", "values": [-1]}, "greater than or equal to 0"),
    ],
)
def test_a_sweep_that_its_editor_cannot_make_is_refused(sweep, words):
    with pytest.raises(ValueError, match=words):
        Entrant(name="a", edits=IP2P, sweep=sweep)


def of_pipeline(parameter):
    edits = {"editor": "diffusers", "diffusers": {"model": {"source": "miniature/editor"}}}
    swept = {"parameter": parameter, "values": [0.5, 1]}
    entrants = (Entrant(name="a", edits=edits, sweep=swept),)
    return EvaluationRecipe(entrants=entrants, clip={"source": "miniature/clip"})


def test_a_pipeline_is_swept_over_what_it_leaves_to_its_class():
    (found,) = pinned(of_pipeline("image_guidance")).entrants
    assert found.settings.image_guidance == 1.5
    assert [point["image_guidance"] for point in found.points] == [0.5, 1]


def test_a_sweep_over_what_a_pipelines_call_has_not_is_refused():
    words = "a: sweep must be over a setting that StableDiffusion.* takes, got strength"
    with pytest.raises(ConfigError, match=words):
        pinned(of_pipeline("strength"))


def test_two_editors_of_one_name_are_refused():
    twice = (Entrant(name="a", edits=IP2P), Entrant(name="a", edits=IP2P))
    with pytest.raises(ValueError, match="names of their own, got a, a"):
        EvaluationRecipe(entrants=twice, clip={"source": "c"})


def test_places_are_no_part_of_what_a_held_out_set_is():
    here, there = (
        recipe(held_out={"kind": "dataset", "source": place, "digest": "d"}) for place in "ab"
    )
    assert here.identity() == there.identity()
    assert json.dumps(here.identity()) != json.dumps(recipe().identity())
