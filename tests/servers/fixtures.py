"""The real S3 servers for tests: those that are running, or such as are started for this session.

EDITMILL_CEPH_ENDPOINT, _ACCESS_KEY, _SECRET_KEY   use this server (see `ceph.py up --shell`)
EDITMILL_SWIFT_ENDPOINT, ...                       and this one (see `swift.py`)
pytest -m servers                                  start them; skip the tests where that fails
EDITMILL_REQUIRE_SERVERS=1                         start them; fail the tests where Ceph does not start
EDITMILL_REQUIRE_SERVERS=all                       or Swift
"""

import atexit
import functools
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers.ceph import Cluster
from tests.servers.processes import Server, ServerFailed
from tests.servers.swift import Swift

NAMES = ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY")


@dataclass(frozen=True)
class S3Access:
    """Where a server is, and keys for it."""

    endpoint: str
    access_key: str
    secret_key: str

    @classmethod
    def read(cls, server: type[Server], values: Mapping[str, str]) -> "S3Access":
        """From the variables that `up` prints."""
        return cls(*(values[f"EDITMILL_{server.name}_{name}"] for name in NAMES))

    def export(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make it what the AWS environment of this test says."""
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_ENDPOINT_URL", self.endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", self.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", self.secret_key)
        # Neither this machine's own settings nor a cloud's metadata service.
        monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def ceph(request: pytest.FixtureRequest) -> S3Access:
    """A Ceph RADOS gateway: of several conditional writers one wins."""
    return given_or_started(Cluster, request)


@pytest.fixture(scope="session")
def swift(request: pytest.FixtureRequest) -> S3Access:
    """An OpenStack Swift: of several conditional writers who meet, several may win."""
    return given_or_started(Swift, request)


def given_or_started(server: type[Server], request: pytest.FixtureRequest) -> S3Access:
    if all(os.environ.get(f"EDITMILL_{server.name}_{name}") for name in NAMES):
        return S3Access.read(server, os.environ)
    # Swift's packages come from PyPI's mirrors, which may lack one of them.
    words = ("1", "all") if server is Cluster else ("all",)
    required = os.environ.get("EDITMILL_REQUIRE_SERVERS") in words
    chosen = str(request.config.getoption("markexpr"))
    if not required and ("servers" not in chosen or "not servers" in chosen):
        pytest.skip("start with make test-servers")
    try:
        return started(server)
    except ServerFailed as error:
        if required:
            pytest.fail(f"{server.__name__} could not be started: {error}")
        pytest.skip(f"{server.__name__} could not be started: {error}")


@functools.cache
def started(kind: type[Server]) -> S3Access:
    """One server for the whole session, in however many folders the fixture is imported."""
    root = Path(tempfile.mkdtemp(prefix=f"editmill-{kind.name.lower()}-"))
    server = kind(root)
    # Also where a start is interrupted half-way.
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    atexit.register(server.down, kill=True)
    server.up()
    return S3Access.read(kind, server.access)
