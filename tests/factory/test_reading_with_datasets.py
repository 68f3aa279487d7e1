"""What the README says of reading a sealed run, done as it says, here and where it lies in a bucket."""

import re
import textwrap
from pathlib import Path

import datasets
import pytest
from PIL import Image

from factory.ledger.plan import write_plan
from factory.ledger.run import create_run
from factory.storage.open import open_store
from schemas.config import Config
from tests.factory.storage.conftest import moto, moto_bucket
from tests.making import run_here, run_job
from tests.stub_source import StubSource, recipe, triplets

__all__ = ["moto", "moto_bucket"]

README = Path(__file__).parents[2] / "README.md"


def readme_reads(uri, monkeypatch, cache):
    """What its lines name `pairs`, of another run than theirs."""
    (lines,) = [
        lines
        for lines in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
        if "sealed_data_uris" in lines
    ]
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    # Where HF_HUB_OFFLINE=1 stands, `datasets` opens no address at all; this one is of this machine.
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    found = {}
    exec(textwrap.dedent("  " + lines.lstrip()).replace("runs/first", uri), found)
    return found["pairs"]


@pytest.fixture(params=["folder", "bucket"])
def place(request, tmp_path):
    """With the extra `s3`: s3fs and boto3 want exact versions of one botocore, so the pins must agree."""
    return str(tmp_path) if request.param == "folder" else request.getfixturevalue("moto_bucket")


def test_datasets_reads_a_sealed_run_as_the_readme_says(place, tmp_path, monkeypatch):
    store = open_store(f"{place}/run")
    run = create_run(store, recipe())
    plan = write_plan(run, triplets(4), run.recipe.unit_triplets)
    config = Config.model_validate({"recipe": recipe()})
    sealed = run_job(run, plan, config, run_here(lambda _: StubSource())).sealed
    pairs = readme_reads(f"{place}/run", monkeypatch, tmp_path / "cache")
    assert len(pairs) == sealed.counts["accepted"] > 0
    assert isinstance(pairs[0]["edited_image"], Image.Image)
