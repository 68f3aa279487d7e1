"""Work on a store that goes on one call at a time, and may be told that a call went wrong."""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from factory.errors import StorageUnavailable
from factory.storage.protocol import ObjectInfo, ObjectStore
from tests.chaos.stores.passing_store import PassingStore


class Died(BaseException):
    """The process is gone: nothing may catch this."""


@dataclass(frozen=True)
class Call:
    """A call that waits to be told what becomes of it."""

    verb: str
    key: str
    do: Callable[[], Any]

    @property
    def writes(self) -> bool:
        """Whether it could still arrive later."""
        return self.verb in ("put", "put_new")


class Stepped:
    """An act in a thread of its own, which stands still before each call of its store."""

    def __init__(self, store: ObjectStore, act: Callable[[ObjectStore], Any]) -> None:
        self.call: Call | None = None
        """What it is about to do; None where it has ended."""
        self.result: Any = None
        self.error: BaseException | None = None
        self._store = _SteppedStore(store, self)
        self._told: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._stands: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(act,), daemon=True)
        self._thread.start()
        self.call = self._stands.get(timeout=30)

    def step(self, what: str) -> Call:
        """Let the next call happen: `ok`, `lost before` it was done, `lost after`, or `die`."""
        assert self.call is not None
        call = self.call
        self._told.put(what)
        self.call = self._stands.get(timeout=30)
        return call

    def finish(self) -> None:
        """Go on to the end without trouble."""
        while self.call is not None:
            self.step("ok")

    def _run(self, act: Callable[[ObjectStore], Any]) -> None:
        try:
            self.result = act(self._store)
        except BaseException as error:
            self.error = error
        self._stands.put(None)

    def wait(self, call: Call) -> Any:
        """Called by the store, in the thread of the act."""
        self._stands.put(call)
        what = self._told.get()
        if what == "die":
            self._told.put("die")
            raise Died
        if what == "lost before":
            raise StorageUnavailable("no answer")
        done = call.do()
        if what == "lost after":
            raise StorageUnavailable("no answer")
        return done


class _SteppedStore(PassingStore):
    def __init__(self, inner: ObjectStore, stepped: Stepped) -> None:
        super().__init__(inner)
        self._stepped = stepped

    def put(self, key: str, data: bytes) -> None:
        passed = super().put
        self._stepped.wait(Call("put", key, lambda: passed(key, data)))

    def put_new(self, key: str, data: bytes) -> bool:
        passed = super().put_new
        return bool(self._stepped.wait(Call("put_new", key, lambda: passed(key, data))))

    def get(self, key: str) -> bytes:
        passed = super().get
        found: bytes = self._stepped.wait(Call("get", key, lambda: passed(key)))
        return found

    def find(self, key: str) -> ObjectInfo | None:
        passed = super().find
        found: ObjectInfo | None = self._stepped.wait(Call("find", key, lambda: passed(key)))
        return found

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        passed = super().list
        found: list[ObjectInfo] = self._stepped.wait(
            Call("list", prefix, lambda: [*passed(prefix)])
        )
        return iter(found)

    def delete(self, key: str) -> None:
        passed = super().delete
        self._stepped.wait(Call("delete", key, lambda: passed(key)))
