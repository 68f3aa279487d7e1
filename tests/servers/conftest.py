"""The emulator and the real server, for the tests of the tools themselves."""

from tests.factory.storage.conftest import moto, moto_bucket

__all__ = ["moto", "moto_bucket"]
