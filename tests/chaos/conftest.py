"""The real server, for the tests that ask for it."""

from tests.servers.fixtures import ceph

__all__ = ["ceph"]
