"""What the hub is asked for is said before."""

from pathlib import Path

import pytest

from factory.doctor.readiness import model_sources
from factory.hub_models import still_to_fetch
from schemas.recipe import ModelSource

HUB = ModelSource(source="owner/name", revision="0" * 40)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def test_what_is_not_in_the_cache_is_named_before_it_is_asked_for(cache):
    models = [HUB, ModelSource(source="miniature/clip")]
    (line,) = still_to_fetch(models)
    assert line.startswith(
        f"fetches owner/name@{'0' * 40} from https://huggingface.co into {cache}"
    )
    assert "HF_HUB_OFFLINE=1" in line
    (cache / "models--owner--name" / "snapshots" / ("0" * 40)).mkdir(parents=True)
    assert still_to_fetch(models) == []


def test_nothing_is_said_of_what_is_no_hubs_or_will_not_be_asked(monkeypatch):
    for source in ("here", "s3://bucket/model", "miniature", "owner/name"):
        assert still_to_fetch([ModelSource(source=source)]) == []
    assert len(still_to_fetch([HUB])) == 1
    Path("owner/name").mkdir(parents=True)
    assert still_to_fetch([HUB]) == []
    Path("owner/name").rmdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert still_to_fetch([HUB]) == []


def test_every_model_of_a_recipe_is_looked_at():
    from factory.config import load_config

    recipe = load_config("paper", None, ["recipe.loras=[{source: a}]"]).recipe
    names = [name for name, _, _ in model_sources(recipe)]
    assert names == ["text_to_image", "autoencoder", "clip", "loras.0"]
    assert len(still_to_fetch([source for _, source, _ in model_sources(recipe)])) == 3
