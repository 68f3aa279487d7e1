"""What the README says of reading a sealed run, done as it says, where it lies in a bucket."""

import datasets
from PIL import Image

from factory.ledger.manifest import sealed_data_uris
from factory.ledger.plan import write_plan
from factory.ledger.run import create_run, open_run
from factory.storage.open import open_store
from schemas.config import Config
from tests.factory.storage.conftest import moto, moto_bucket
from tests.making import run_here, run_job
from tests.stub_source import StubSource, recipe, triplets

__all__ = ["moto", "moto_bucket"]


def test_datasets_reads_a_sealed_run_in_a_bucket(moto_bucket, tmp_path):
    """With the extra `s3`: s3fs and boto3 want exact versions of one botocore, so the pins must agree."""
    store = open_store(f"{moto_bucket}/run")
    run = create_run(store, recipe())
    plan = write_plan(run, triplets(4), run.recipe.unit_triplets)
    config = Config.model_validate({"recipe": recipe()})
    sealed = run_job(run, plan, config, run_here(lambda _: StubSource())).sealed
    files = sealed_data_uris(open_run(f"{moto_bucket}/run"))
    pairs = datasets.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(tmp_path)
    )
    assert len(pairs) == sealed.counts["accepted"] > 0
    assert isinstance(pairs[0]["edited_image"], Image.Image)
