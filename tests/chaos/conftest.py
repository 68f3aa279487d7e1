"""The real server, for the tests that ask for it."""

from tests.servers.fixtures import ceph, swift

__all__ = ["ceph", "swift"]
