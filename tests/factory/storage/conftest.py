"""The places the contract is tested in: a folder, an S3 emulator, two real S3 servers."""

import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import boto3
import pytest

from factory.storage.open import open_store
from factory.storage.protocol import ObjectStore
from tests.servers.emulator import emulator
from tests.servers.fixtures import S3Access, ceph, swift

__all__ = ["ceph", "swift"]

SECRET = "canary-7f3a9b1c5d2e8f60canary-7f3a9b1c5d"
"""A secret key for the emulator, which asks for none: it must turn up nowhere."""


@dataclass(frozen=True)
class Place:
    """One kind of store, with the environment to reach it."""

    kind: Literal["local", "moto", "ceph", "swift"]
    root: str
    access: S3Access | None

    def store(self) -> ObjectStore:
        """A store with nothing in it."""
        return open_store(f"{self.root}/run-{secrets.token_hex(8)}")


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Access]:
    """An S3 emulator in this process."""
    server = emulator()
    server.start()
    host, port = server.get_host_and_port()
    yield S3Access(f"http://{host}:{port}", "canary-access-key", SECRET)
    server.stop()


STRONG = ["local", "moto", pytest.param("ceph", marks=pytest.mark.servers)]
"""Of several writers of one new key one wins."""
WEAK = [pytest.param("swift", marks=pytest.mark.servers)]
"""Several may win."""


@pytest.fixture(params=[*STRONG, *WEAK])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    """Every test that asks for a place runs in each of them."""
    return _place(request, monkeypatch, tmp_path)


@pytest.fixture(params=STRONG)
def strong_store(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> ObjectStore:
    """A store with nothing in it, for what a weak one cannot promise."""
    return _place(request, monkeypatch, tmp_path).store()


@pytest.fixture(params=WEAK)
def weak_place(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Place:
    """For what a weak one is found out by."""
    return _place(request, monkeypatch, tmp_path)


def _place(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Place:
    if request.param == "local":
        return Place("local", str(tmp_path), None)
    access: S3Access = request.getfixturevalue(request.param)
    access.export(monkeypatch)
    return Place(request.param, f"s3://{bucket_of(access)}", access)


@pytest.fixture
def moto_bucket(moto: S3Access, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an empty place in the emulator's bucket, with the environment to reach it."""
    moto.export(monkeypatch)
    return f"s3://{bucket_of(moto)}/{secrets.token_hex(6)}"


@pytest.fixture
def store(place: Place) -> ObjectStore:
    """A store with nothing in it."""
    return place.store()


def bucket_of(access: S3Access) -> str:
    """A bucket on that server. The environment must already lead there."""
    name = "editmill-tests"
    # A session of its own: boto3 keeps a default one with the keys it saw first.
    client = boto3.session.Session().client("s3", region_name="us-east-1")
    # Owned already: S3 answers 200 in this region, and so do the emulator and Ceph; Swift, 409.
    with suppress(client.exceptions.BucketAlreadyOwnedByYou):
        client.create_bucket(Bucket=name)
    return name
