"""A bucket's listing, page by page: it is trusted only as far as it is shown to be whole.

Servers have cut a listing and given no token for the rest, given one token for ever, ignored where they
were asked to go on, and called a full page the last. Whoever believed them took a part for the whole:
half a dataset was trained, and a run with open units was sealed. So names must come in order, each
once; a page that is cut, or full, is gone on from by its last name where no token leads on; and what
does not go on is refused.
"""

from collections.abc import Callable, Iterator
from typing import Any

from botocore.parsers import ResponseParserError

from factory.errors import StorageRefused
from factory.storage.s3.replies import READ_ATTEMPTS, check_reply, pause

Fields = dict[str, Any]

OBJECTS = "ListObjectsV2"
UPLOADS = "ListMultipartUploads"

PAGE_NAMES = 1000
"""What servers give at once, unless they are asked for less."""
EMPTY_PAGES = 1000
"""In a row, each with a token: as of very many names that were just deleted."""


def objects(
    ask: Callable[[Fields], Fields], place: str, prefix: str, most: int = PAGE_NAMES
) -> Iterator[tuple[Fields, Fields]]:
    """Every object below a prefix with the page that shows it; pages hold `most` names.

    Raises `StorageRefused` where the server does not show all of them.
    """
    listing = _Listing(OBJECTS, place)
    asked: Fields = {"Prefix": prefix} | ({"MaxKeys": most} if most < PAGE_NAMES else {})
    onward: Fields | None = {}
    while onward is not None:
        page = ask(asked | onward)
        found = page.get("Contents", [])
        for entry in found:
            if not entry["Key"].startswith(prefix):
                raise listing.refused("gave names without the prefix that was asked for")
            listing.take(entry["Key"])
            yield entry, page
        token = page.get("NextContinuationToken")
        # A server may give more than it was asked for, and says then what is most.
        limit = page.get("MaxKeys") or (most if len(found) <= most else PAGE_NAMES)
        onward = listing.onward(
            None if token is None else {"ContinuationToken": token},
            {"StartAfter": found[-1]["Key"]} if found else None,
            is_cut=page["IsTruncated"],
            is_full=len(found) >= limit,
        )


def uploads(ask: Callable[[Fields], Fields], place: str, prefix: str) -> Iterator[Fields]:
    """Every unfinished upload below a prefix. Raises as `objects`."""
    listing = _Listing(UPLOADS, place)
    onward: Fields | None = {}
    while onward is not None:
        page = ask({"Prefix": prefix} | onward)
        found = page.get("Uploads", [])
        for entry in found:
            listing.take(entry["Key"], entry["UploadId"])
            yield entry
        onward = listing.onward(
            _marker(page.get("NextKeyMarker"), page.get("NextUploadIdMarker")),
            _marker(found[-1]["Key"], found[-1]["UploadId"]) if found else None,
            is_cut=page["IsTruncated"],
            is_full=len(found) >= (page.get("MaxUploads") or PAGE_NAMES),
        )


def _marker(key: str | None, upload: str | None) -> Fields | None:
    return {"KeyMarker": key, "UploadIdMarker": upload} if key and upload else None


def whole_page(ask: Callable[[], Fields], place: str, verb: str) -> Fields:
    """A page as its server meant it: asked for again where it came back cut.

    Raises `ResponseParserError` and `StorageRefused` where it always does.
    """
    for attempt in range(1, READ_ATTEMPTS + 1):
        try:
            page = ask()
        except ResponseParserError:
            if attempt == READ_ATTEMPTS:
                raise
        else:
            check_reply(page, "IsTruncated", place)
            # Where there is more, some servers count that, too.
            if page["IsTruncated"] or page.get("KeyCount", 0) <= len(page.get("Contents", [])):
                return page
        pause(attempt)
    raise StorageRefused(
        f"{place}: {verb} shows fewer names than it counts; this server cannot be used"
    )


class _Listing:
    """What one listing has shown so far."""

    def __init__(self, verb: str, place: str) -> None:
        self.verb, self.place = verb, place
        self._last = b""
        self._ids: set[str] = set()
        """Shown under the last name, where it may have several."""
        self._tokens: set[object] = set()
        """Given since the last page that was not empty."""
        self._why = ""
        """Why this page was asked for by the last name of the one before."""

    def take(self, name: str, id: str = "") -> None:
        """The next name. Raises `StorageRefused` where it is out of order, or was there before."""
        name_ = name.encode("utf-8", "surrogatepass")
        if name_ != self._last:
            self._ids.clear()
        if name_ < self._last or id in self._ids:
            raise self.refused(self._why or "gave names out of order, or twice")
        self._last = name_
        self._ids.add(id)

    def onward(
        self, by_token: Fields | None, by_name: Fields | None, *, is_cut: bool, is_full: bool
    ) -> Fields | None:
        """What asks for the next page, by the server's token or the last name; None: all was shown."""
        if by_name:
            self._tokens.clear()
        self._why = ""
        token = by_token and tuple(by_token.values())
        if is_cut and token and token not in self._tokens:
            self._tokens.add(token)
            if len(self._tokens) > EMPTY_PAGES:
                raise self.refused(f"gave more than {EMPTY_PAGES} empty pages")
            return by_token
        if not is_cut and not is_full:
            return None
        self._why = (
            f"cut the listing and gave {'no token' if token is None else 'one token twice'}"
            if is_cut
            else "gave a full page, and the same one when asked for what follows it"
        )
        if by_name is None:
            raise self.refused(self._why)
        return by_name

    def refused(self, why: str) -> StorageRefused:
        """The error of a server that cannot be used."""
        return StorageRefused(f"{self.place}: {self.verb} {why}; this server cannot be used")
