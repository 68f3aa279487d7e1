"""A disk that fills up."""

from factory.errors import StorageUnavailable
from factory.ledger import keys
from factory.storage import patience
from factory.storage.local import LocalStore


class FullDisk(LocalStore):
    """From the first commit on there is no room for anything."""

    def put(self, key, data):
        self._need_room(key)
        super().put(key, data)

    def put_new(self, key, data):
        self._need_room(key)
        return super().put_new(key, data)

    def _need_room(self, key):
        if list(LocalStore(self.folder).list(keys.COMMITS)):
            raise StorageUnavailable(f"{self.uri}/{key}: No space left on device")


def load_impatient(load, run, pool):
    """What `load` makes, in a worker that asks its store once."""
    patience.TRIES = 1
    return load(run, pool)
