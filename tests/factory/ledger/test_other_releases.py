"""Only making is bound to the versions of stages: runs of any are read, checked, sealed and tidied up."""

import ast

import pytest
from typer.testing import CliRunner

from factory import __main__ as program
from factory.dataset.files import find_files
from factory.errors import RunMismatch
from factory.ledger import keys
from factory.ledger.collect import collect
from factory.ledger.manifest import sealed_data_uris
from factory.ledger.plan import find_plan, write_plan
from factory.ledger.run import create_run, open_run
from factory.ledger.seal import seal
from factory.ledger.status import status
from factory.pairs.verify import verify
from factory.storage.local import LocalStore
from schemas.ledger.run import RunRecord
from schemas.ledger.stamped import to_stamped_json
from schemas.recipe import STAGE_VERSIONS
from tests.factory.ledger.test_collect import age, finish, litter
from tests.making import generate_unit
from tests.stub_source import StubSource, recipe, triplets

OLDER = STAGE_VERSIONS | {"sampler": 0, "scorer": 0}
NEWER = STAGE_VERSIONS | {"sampler": 7, "edit": 1}


@pytest.fixture(params=[OLDER, NEWER], ids=["older", "newer"])
def versions(request):
    return request.param


@pytest.fixture
def run(tmp_path, monkeypatch, versions):
    """A run of another release, sealed in part; beside it lie what lost attempts left."""
    with monkeypatch.context() as other:
        for module in ("schemas.recipe", "factory.ledger.run"):
            other.setattr(f"{module}.STAGE_VERSIONS", versions)
        begun = create_run(LocalStore(tmp_path), recipe())
        plan = write_plan(begun, triplets(6), 2)
        for unit in (0, 1):
            generate_unit(begun, plan, unit, StubSource())
        seal(begun, plan, partial=True)
        generate_unit(begun, plan, 2, StubSource())
    return open_run(str(tmp_path))


def test_a_run_of_another_release_is_read_sealed_and_tidied_up(run, versions, tmp_path):
    assert run.recipe.stage_versions == versions
    plan = find_plan(run)
    assert status(run, plan).committed_units == 3
    assert verify(run).damages == []
    sequence, manifest = seal(run, plan)
    assert (sequence, manifest.partial, manifest.recipe_hash) == (1, False, run.recipe_hash)
    assert verify(run).damages == []
    left = litter(run)
    age(tmp_path, 99)
    assert collect(run, plan, delete=True).removed == len(left)
    assert verify(run).damages == []


def test_a_training_reads_the_pairs_of_another_release(run):
    assert len(find_files(run.uri).names) == len(sealed_data_uris(run)) > 0


def test_commands_read_a_run_of_another_release(run, tmp_path):
    for words in (["status"], ["verify"], ["seal"], ["gc"]):
        result = CliRunner().invoke(program.app, [*words, str(tmp_path), "--json"])
        assert result.exit_code == 0, result.output


def test_a_run_of_another_release_is_not_gone_on_with(run, versions):
    with pytest.raises(RunMismatch) as refused:
        create_run(run.store, recipe())
    rule, _, rest = str(refused.value).partition(", got ")
    got, _, remedy = rest.partition("; ")
    assert rule == (
        f"{run.uri}: was begun by another release: stage_versions must be this program's "
        f"{STAGE_VERSIONS}"
    )
    assert ast.literal_eval(got) == versions
    assert remedy == "a run is finished with the release that began it"


def test_which_fields_another_release_hashes_is_its_own_affair(run, versions):
    """What its records name is its hash; that RUN.json is whole is told by its stamp."""
    stored = RunRecord(
        recipe=run.recipe.model_dump(mode="json"), recipe_hash="5" * 64, commits="conditional"
    )
    run.store.put(keys.RUN, to_stamped_json(stored))
    assert open_run(run.store).recipe_hash == "5" * 64
    assert status(open_run(run.store), find_plan(run)).committed_units == 3


def test_a_run_of_this_release_is_still_finished_by_it(tmp_path):
    run = create_run(LocalStore(tmp_path), recipe())
    assert finish(run, write_plan(run, triplets(4), 2)).exit_code == 0
