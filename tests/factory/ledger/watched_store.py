"""Stores for tests of the ledger: one that notes its calls, one whose conditional PUT is weak."""

from collections import Counter

from factory.errors import StorageRefused
from factory.storage.local import LocalStore


class NotedStore(LocalStore):
    """A folder that notes every call as verb and key."""

    def __init__(self, folder):
        super().__init__(folder)
        self.calls = []

    def put(self, key, data):
        self.calls.append(("put", key))
        super().put(key, data)

    def put_new(self, key, data):
        self.calls.append(("put_new", key))
        return super().put_new(key, data)

    def get(self, key):
        self.calls.append(("get", key))
        return super().get(key)

    def find(self, key):
        self.calls.append(("find", key))
        return super().find(key)

    def list(self, prefix=""):
        self.calls.append(("list", prefix))
        return super().list(prefix)

    def count(self, verb, folder):
        """Calls of a verb below a folder, by key."""
        return Counter(key for said, key in self.calls if said == verb and key.startswith(folder))


class WeakStore(LocalStore):
    """Lets every writer of one key win; the last one's bytes stay. As Swift at its worst."""

    def put_new(self, key, data):
        self.put(key, data)
        return True


class KeepingStore(LocalStore):
    """Refuses to delete, as a worker's keys should."""

    def delete(self, key):
        raise StorageRefused(f"{key}: these keys may not delete")
