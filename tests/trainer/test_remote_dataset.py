"""A dataset in a bucket is encoded and begun with as one in a folder."""

import torch

from factory.storage.open import open_store
from tests.trainer.encoded import configuration, write_dataset
from tests.trainer.latents.test_encode import stored
from tests.trainer.small import objects
from trainer.fit import prepare
from trainer.latents.encode import encode_dataset


def upload(folder, uri):
    store = open_store(uri)
    for key, data in objects(folder).items():
        store.put(key, data)


def test_from_a_bucket_is_encoded_what_is_from_a_folder_and_no_picture_stays(
    moto_bucket, small_units, tmp_path, monkeypatch
):
    torch.set_num_threads(1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder, uri = write_dataset(tmp_path / "pairs"), moto_bucket
    upload(folder, uri)
    config = configuration()
    for out, dataset in (("a", folder), ("b", uri)):
        encode_dataset(config, dataset, str(tmp_path / out))
    assert stored(tmp_path / "a") == stored(tmp_path / "b")
    # Who begins a training fetches no picture either.
    reading = {"latents": str(tmp_path / "b")}
    prepare(configuration(reading=reading), uri, str(tmp_path / "out"))
    assert not (tmp_path / "cache").exists()
