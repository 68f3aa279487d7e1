"""The real S3 server for tests: one that is running, or one started for this session.

EDITMILL_CEPH_ENDPOINT, _ACCESS_KEY, _SECRET_KEY   use this server (see `ceph.py up --shell`)
pytest -m servers                                  start one; skip the tests where that fails
EDITMILL_REQUIRE_SERVERS=1                         start one; fail the tests where that fails
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

from tests.servers.ceph import CephFailed, Cluster

NAMES = ("EDITMILL_CEPH_ENDPOINT", "EDITMILL_CEPH_ACCESS_KEY", "EDITMILL_CEPH_SECRET_KEY")


@dataclass(frozen=True)
class S3Access:
    """Where a server is, and keys for it."""

    endpoint: str
    access_key: str
    secret_key: str

    @classmethod
    def read(cls, values: Mapping[str, str]) -> "S3Access":
        """From the variables that `ceph.py up` prints."""
        return cls(*(values[name] for name in NAMES))

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
    """A Ceph RADOS gateway."""
    if all(os.environ.get(name) for name in NAMES):
        return S3Access.read(os.environ)
    required = os.environ.get("EDITMILL_REQUIRE_SERVERS") == "1"
    chosen = str(request.config.getoption("markexpr"))
    if not required and ("servers" not in chosen or "not servers" in chosen):
        pytest.skip("start with make test-servers")
    try:
        return started()
    except CephFailed as error:
        if required:
            pytest.fail(f"Ceph could not be started: {error}")
        pytest.skip(f"Ceph could not be started: {error}")


@functools.cache
def started() -> S3Access:
    """One cluster for the whole session, in however many folders the fixture is imported."""
    root = Path(tempfile.mkdtemp(prefix="editmill-ceph-"))
    cluster = Cluster(root)
    # Also where a start is interrupted half-way.
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    atexit.register(cluster.down, kill=True)
    cluster.up()
    return S3Access.read(cluster.access)
