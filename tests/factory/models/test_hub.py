"""Models from a hub: what is fetched is said, and what would not be read is told before."""

import importlib
import os
import socket
from contextlib import contextmanager
from threading import Thread
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch

from factory.errors import ModelError
from factory.models import find
from factory.models.find import MINIATURE, model_folder
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

    def __call__(self, source, *, revision, dry_run=False, local_files_only=False, **patterns):
        assert (source, revision) == (SOURCE.source, SOURCE.revision)
        if local_files_only:
            raise FileNotFoundError("not in the cache")
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
    monkeypatch.setattr(find, "_why_not_asked", lambda: None)
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
    load_text_to_image(ModelSource(source=str(MINIATURE / "text_to_image")), None, torch.float32)
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


@contextmanager
def silent_server(asked):
    """Takes connections and answers none."""

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            asked.append(connection)
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def test_a_hub_that_does_not_answer_is_asked_a_few_times_and_told_of_once(
    monkeypatch, tmp_path, capfd
):
    asked = []
    with silent_server(asked) as endpoint:
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
        with pytest.raises(ModelError, match=rf"not in the local cache, and {endpoint} did not"):
            model_folder(SOURCE, "clip")
    assert len(asked) == 3
    assert capfd.readouterr().err == ""


def test_a_hub_that_the_environment_forbids_to_ask_is_not_asked(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="not in the local cache, and HF_HUB_OFFLINE=1 keeps"):
        model_folder(SOURCE, "clip")


@pytest.mark.parametrize("path", ["weights/nope.safetensors", "nope.safetensors"])
def test_a_file_of_weights_that_is_not_there_is_no_hub_id(path):
    with pytest.raises(ModelError, match=f"^{path}: no such file or folder"):
        model_folder(ModelSource(source=path), "text_to_image")
