"""Models from a hub: what is fetched is said, and what would not be read is told before."""

import importlib
import os
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch

from factory.errors import ModelError
from factory.models.find import model_folder
from schemas.recipe import ModelSource

SOURCE = ModelSource(source="owner/name", revision="a" * 40)
FILES = {
    "unet/config.json": (1_234, True),
    "unet/diffusion_pytorch_model.safetensors": (3_438_167_540, True),
    "unet/diffusion_pytorch_model.fp16.safetensors": (1_719_125_304, True),
    "vae/config.json": (800, False),
    "vae/diffusion_pytorch_model.safetensors": (334_643_276, False),
}


class Hub:
    """In place of `snapshot_download`; knows of `FILES`, and which of them are here already."""

    def __init__(self, files, folder):
        self.files, self.folder, self.fetched = files, folder, 0

    def __call__(self, source, *, revision, allow_patterns, ignore_patterns=(), dry_run=False):
        assert (source, revision) == (SOURCE.source, SOURCE.revision)
        if dry_run:
            return [
                SimpleNamespace(filename=name, file_size=size, will_download=comes)
                for name, (size, comes) in self.files.items()
            ]
        self.fetched += 1
        return str(self.folder)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    found = Hub(dict(FILES), tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", found)
    return found


def test_a_line_is_said_of_each_file_that_comes_with_its_size(hub, capsys):
    assert model_folder(SOURCE, "text_to_image") == hub.folder
    start = f"fetches owner/name@{'a' * 40}/unet"
    assert capsys.readouterr().err.splitlines() == [
        f"{start}/config.json, 1,234 bytes",
        f"{start}/diffusion_pytorch_model.safetensors, 3,438.2 MB",
    ]


def test_on_a_terminal_the_hubs_own_bar_says_it(hub, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert model_folder(SOURCE, "text_to_image") == hub.folder
    assert capsys.readouterr().err == ""


def test_loading_switches_its_own_bars_off_and_leaves_the_downloads(monkeypatch):
    """The variable would switch off all of the hub's."""
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS", raising=False)
    from transformers.utils import logging

    from factory.engine.checkpoint.load import load_text_to_image

    for module in ("factory.__main__", "trainer.__main__"):
        importlib.import_module(module)
    assert "HF_HUB_DISABLE_PROGRESS_BARS" not in os.environ
    logging.enable_progress_bar()
    load_text_to_image(ModelSource(source="miniature"), None, torch.float32)
    assert not logging.is_progress_bar_enabled()


def test_a_part_of_which_only_variants_are_published_is_told_before_anything_is_fetched(hub):
    del hub.files["unet/diffusion_pytorch_model.safetensors"]
    with pytest.raises(ModelError, match=r"name@a+: weights .* only unet/\S+fp16\S+, a variant"):
        model_folder(SOURCE, "text_to_image")
    assert hub.fetched == 0


def test_without_a_network_what_is_here_is_taken(hub, monkeypatch, capsys):
    def offline(*args, dry_run=False, **more):
        if dry_run:
            raise ConnectionError("no network")
        return str(hub.folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    assert model_folder(SOURCE, "text_to_image") == hub.folder
    assert capsys.readouterr().err == ""
