"""`select` on a real Ray: the selection that is chosen here, byte for byte."""

import json
from unittest.mock import patch

import pytest
from typer.testing import CliRunner

from editmill import app
from factory.ledger.plan import write_plan
from factory.ledger.run import Run, create_run
from factory.pairs.reselection import Candidates, Reselector, selected_run
from factory.storage.local import LocalStore
from factory.verbs import machine
from schemas.config import Compute, Config
from tests.making import run_here, run_job
from tests.stub_source import StubSource, recipe, triplets

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("ray_here")]
WIDER = ("recipe.thresholds.image=0.05", "recipe.thresholds.direction=0.1", "recipe.keep.most=4")
ON_RAY = ("compute.where=ray", "compute.min_workers=2", "compute.max_workers=2")
run_here_alone = machine.run_here
"""On Ray it is not there."""


def load(run: Run, compute: Compute) -> Reselector:
    return Reselector(run.recipe, Candidates(selected_run(run)), StubSource)


def test_a_selection_chosen_on_ray_is_the_one_chosen_here(tmp_path):
    run = create_run(LocalStore(tmp_path), recipe())
    plan = write_plan(run, triplets(12), run.recipe.unit_triplets)
    config = Config.model_validate({"recipe": run.recipe.model_dump()})
    before = run_job(run, plan, config, run_here(lambda _: StubSource())).sealed
    said = {}
    for name, settings in {"here": WIDER, "ray": (*WIDER, *ON_RAY)}.items():
        words = [word for setting in settings for word in ("--set", setting)]
        with (
            patch("factory.verbs.machine.load_reselector", load),
            patch("factory.verbs.machine.run_here", run_here_alone if name == "here" else None),
        ):
            done = CliRunner().invoke(
                app, ["select", str(tmp_path), *words, "--name", name, "--json"]
            )
        assert done.exit_code == 0, done.stderr
        said[name] = json.loads(done.stdout)
    hashes = {name: one["sealed"]["manifest_hash"] for name, one in said.items()}
    assert hashes["ray"] == hashes["here"]
    assert said["ray"]["counts"]["accepted"] > before.counts["accepted"]
