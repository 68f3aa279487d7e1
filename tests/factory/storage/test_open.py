"""From a URI to a store."""

from pathlib import Path

import pytest

from factory.errors import ConfigError
from factory.storage.local import LocalStore
from factory.storage.open import open_store
from factory.storage.s3.store import S3Store


@pytest.mark.parametrize(
    ("uri", "bucket", "prefix"),
    [
        ("s3://bucket", "bucket", ""),
        ("s3://bucket/", "bucket", ""),
        ("s3://my.bucket-1/runs/a_b.c", "my.bucket-1", "runs/a_b.c"),
        ("s3://bucket/runs/1/", "bucket", "runs/1"),
    ],
)
def test_an_s3_uri_is_a_bucket_and_a_prefix(uri: str, bucket: str, prefix: str) -> None:
    store = open_store(uri)
    assert isinstance(store, S3Store)
    assert (store.bucket, store.prefix, store.uri) == (bucket, prefix, uri.rstrip("/"))


def test_paths_and_file_uris_are_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    for uri, folder in {
        "run": f"{tmp_path}/run",
        "./a:b": f"{tmp_path}/a:b",
        "/data/run 1": "/data/run 1",
        "file:///data/run%201": "/data/run 1",
        "file://localhost/data": "/data",
        "~/run": "/home/someone/run",
    }.items():
        store = open_store(uri)
        assert isinstance(store, LocalStore)
        assert store.uri == folder


@pytest.mark.parametrize(
    "uri",
    [
        *("", " ", "s3:/bucket", "s3:bucket", "S3://bucket", "gs://bucket/run", "s3a://bucket"),
        *("http://host/bucket", "s3://", "s3:///run", "s3://b", "s3://bucket//run", "s3://bu cket"),
        *("s3://bucket/../run", "s3://bucket/r n", "file://host/run", "file:run", "a\0b"),
    ],
)
def test_another_uri_is_refused_with_what_was_got(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"^store: expected .*, got") as caught:
        open_store(uri)
    assert repr(uri) in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://KEY:canary@bucket/run",
        "s3://bucket/run?X-Amz-Signature=canary",
        "https://bucket.s3.amazonaws.com/run?X-Amz-Signature=canary",
        "ftp://user:canary@host/run",
    ],
)
def test_a_uri_with_keys_is_refused_without_repeating_them(uri: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(uri)
    assert "canary" not in str(caught.value)
