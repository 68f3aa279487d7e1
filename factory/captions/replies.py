"""Every reply that was paid for, stored once by itself: no request that was answered is sent again."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory.captions.asked import Asked
from factory.errors import Damaged, ObjectMissing, first_line
from factory.ledger import keys
from factory.ledger.run import folder_must_stand
from factory.storage.patience import read_whole, write_once
from factory.storage.protocol import ObjectStore
from schemas.canonical import content_hash
from schemas.ledger.stamped import stamped, unstamped

if TYPE_CHECKING:
    from factory.captions.server import LanguageServer


@dataclass(frozen=True)
class Reply:
    """What a server said."""

    sha256: str
    """Of the request and its number."""
    body: dict[str, Any]
    """As JSON says it; texts may hold half a surrogate pair, numbers may be no numbers."""
    stored_before: bool
    """Whether it was answered before, and was not sent now."""


class Replies:
    """The stored replies of a run."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    def ask(self, server: "LanguageServer", asked: Asked, number: int) -> Reply:
        """The reply to a request; `number` tells equal requests apart that want replies of their own.

        A reply that stands in the store is taken, whoever asked for it. Where two asked at one moment, both
        take what was stored first. Raises as `LanguageServer.ask`, and `StorageError`; of a folder,
        `StorageRefused` where the run is gone.
        """
        sha256 = name_of(asked, number)
        try:
            return Reply(sha256, self.read(sha256), True)
        except ObjectMissing:
            pass
        # Before it is paid for; and again, since an answer takes seconds.
        folder_must_stand(self.store)
        return Reply(sha256, self.keep(sha256, server.ask(asked)), False)

    def read(self, sha256: str) -> dict[str, Any]:
        """What is stored under a request's name. Raises `ObjectMissing`, `Damaged`."""
        key = keys.reply(sha256)
        return read_whole(self.store, key, lambda data: _read(data, key))

    def keep(self, sha256: str, reply: str) -> dict[str, Any]:
        """Store a reply under its request's name; what was stored there first is what counts."""
        key = keys.reply(sha256)
        # As text: whatever strange thing it says was paid for, and is kept.
        data = stamped({"request": sha256, "reply": reply})
        folder_must_stand(self.store)
        stands = write_once(self.store, key, data)
        return _body(reply, key) if stands == data else _read(stands, key)

    def names(self) -> set[str]:
        """Of all requests whose replies are stored."""
        return {
            found.key.rpartition("/")[2].removesuffix(".json")
            for found in self.store.list(keys.REPLIES)
        }


def name_of(asked: Asked, number: int) -> str:
    """sha256 of a request and its number."""
    return content_hash([asked.kind, asked.body, number])


def _read(data: bytes, key: str) -> dict[str, Any]:
    try:
        reply = unstamped(data)["reply"]
    except (ValueError, KeyError) as error:
        raise Damaged(f"{key}: not a reply: {first_line(error)}") from None
    return _body(reply, key)


def _body(reply: Any, key: str) -> dict[str, Any]:
    try:
        body = json.loads(reply)
    except (ValueError, TypeError) as error:
        raise Damaged(f"{key}: not a reply: {first_line(error)}") from None
    if not isinstance(body, dict):
        raise Damaged(f"{key}: not a reply: must be a JSON object, got {type(body).__name__}")
    return body
