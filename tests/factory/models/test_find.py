"""What the hub is asked for is said before, and why it did not answer."""

import pytest

from factory.errors import ModelError
from factory.models import find as model_files
from factory.models.find import model_folder, still_to_fetch
from schemas.recipe import ModelSource

HUB = ModelSource(source="owner/name", revision="0" * 40)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that is not reached, and a cache that is empty at first."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    asked = []

    def snapshot(source, *, local_files_only=False, **_):
        asked.append((source, local_files_only))
        if (tmp_path / "there").exists():
            return str(tmp_path / "there")
        raise ValueError("not found") from ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(model_files, "_why_not_asked", lambda: None)
    return asked


def test_what_is_not_in_the_cache_is_named_before_it_is_asked_for(hub, tmp_path):
    models = [
        ("text_to_image", HUB, "text_to_image"),
        ("clip", ModelSource(source="miniature/clip"), "clip"),
    ]
    (line,) = still_to_fetch(models)
    assert line.startswith(
        f"fetches owner/name@{'0' * 40} from https://huggingface.co into {tmp_path}"
    )
    assert "HF_HUB_OFFLINE=1" in line
    assert hub == [("owner/name", True)]
    (tmp_path / "there").mkdir()
    assert still_to_fetch(models) == []


def test_nothing_is_said_of_a_hub_that_will_not_be_asked(hub, monkeypatch):
    assert still_to_fetch([("clip", ModelSource(source="here"), "clip")]) == []
    assert still_to_fetch([("clip", ModelSource(source="s3://bucket/model"), "clip")]) == []
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert still_to_fetch([("clip", HUB, "clip")]) == []
    assert hub == []


def test_why_the_hub_did_not_give_a_model_is_said(hub):
    with pytest.raises(ModelError, match=r"the hub did not give it \(ConnectionError\)"):
        model_folder(HUB, "clip")


def test_every_model_of_a_recipe_has_its_key():
    from factory.console.config import load_config

    recipe = load_config("paper", None, ["recipe.loras=[{source: a}]"]).recipe
    names = [name for name, _, _ in model_files.model_sources(recipe)]
    assert names == ["text_to_image", "autoencoder", "clip", "loras.0"]
