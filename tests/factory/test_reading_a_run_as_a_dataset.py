"""`datasets.load_dataset` of a sealed run's folder gives the sealed pairs, and nothing beside them."""

import datasets
import pytest
from PIL import Image
from typer.testing import CliRunner

from factory.dataset.run_card import NAME
from factory.ledger import keys
from factory.ledger.laid_out import MARKS
from factory.ledger.manifest import newest_manifest
from factory.ledger.plan import write_plan
from factory.ledger.run import create_run
from factory.ledger.seal import seal
from factory.pairs.sheet import sealed_pairs
from factory.storage.open import open_store
from factory.verbs.runs.seal import seal_app
from factory.verbs.runs.verify import verify_app
from schemas.config import Config
from tests.factory.test_reading_with_datasets import StubSource, recipe, triplets
from tests.making import generate_unit, run_here, run_job


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def made(place, limit=None):
    run = create_run(open_store(str(place)), recipe())
    plan = write_plan(run, triplets(8), run.recipe.unit_triplets)
    config = Config.model_validate({"recipe": recipe(), "budget": {"limit": limit}})
    return run, plan, run_job(run, plan, config, run_here(lambda _: StubSource()))


def names(rows):
    return [(row["triplet_id"], row["index"]) for row in rows]


@pytest.mark.parametrize("limit", [None, 3])
def test_a_run_and_a_snapshot_load_as_train_and_nothing_else(limit, tmp_path):
    run, _, result = made(tmp_path / "run", limit)
    pairs = list(sealed_pairs(run, result.sealed))
    # What a lost attempt leaves lies among the sealed files.
    first = next(info.key for info in run.store.list(keys.data_folder("generate")))
    run.store.put(first.replace(first[-24:-8], "0" * 16), run.store.get(first))
    loaded = datasets.load_dataset(run.uri)
    assert list(loaded) == ["train"]
    assert names(loaded["train"]) == [(pair.triplet_id, pair.index) for pair in pairs] != []
    assert isinstance(loaded["train"][0]["edited_image"], Image.Image)
    assert loaded["train"].column_names[:5] == [
        "original_prompt", "original_image", "edit_prompt", "edited_prompt", "edited_image",
    ]  # fmt: skip


def test_a_card_follows_the_newest_manifest(tmp_path):
    run, plan, _ = made(tmp_path / "run", limit=2)
    before = run.store.get(NAME)
    assert made(tmp_path / "run")[2].exit_code == 0
    after = run.store.get(NAME)
    assert before != after
    made(tmp_path / "run")
    assert run.store.get(NAME) == after
    run.store.delete(NAME)
    assert CliRunner().invoke(seal_app, [run.uri]).exit_code == 0
    assert run.store.get(NAME) == after


def test_a_card_of_another_manifest_is_told_by_verify_and_mended_by_seal(tmp_path):
    run, plan, _ = made(tmp_path / "run")
    good = run.store.get(NAME)
    run.store.put(NAME, good.replace(b"    - ", b"    -  ", 1))
    said = CliRunner().invoke(verify_app, [run.uri])
    assert said.exit_code == 5
    assert "README.md: must be what the newest manifest gives, got other bytes" in said.output
    assert CliRunner().invoke(seal_app, [run.uri]).exit_code == 0
    assert run.store.get(NAME) == good
    assert CliRunner().invoke(verify_app, [run.uri]).exit_code == 0


def test_a_card_that_a_person_wrote_stays(tmp_path):
    run, plan, _ = made(tmp_path / "run", limit=2)
    own = run.store.get(NAME).replace(MARKS[0].encode(), b"# Ours").replace(MARKS[1].encode(), b"")
    run.store.put(NAME, own)
    assert made(tmp_path / "run")[2].exit_code == 0
    said = CliRunner().invoke(seal_app, [run.uri])
    assert said.exit_code == 0
    assert "README.md: is not this program's" in said.output
    assert run.store.get(NAME) == own


def test_two_sealers_leave_the_card_of_the_newer_manifest(tmp_path):
    """The one that sealed first lays its card out last."""
    from factory.dataset.run_card import run_card
    from factory.ledger.laid_out import lay_out

    run, plan, _ = made(tmp_path / "run", limit=2)

    def slow(run, manifest):
        cards = list(run_card(run, manifest))
        if manifest.partial:
            for unit in plan.units:
                generate_unit(run, plan, unit, StubSource())
            seal(run, plan)
        yield from cards

    lay_out(run, slow)
    (_, whole) = newest_manifest(run)
    assert not whole.partial
    assert dict(run_card(run, whole))[NAME] == run.store.get(NAME)
