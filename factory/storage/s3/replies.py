"""What a reply of S3 must be to be believed, and what it says of times."""

import math
import re
import time
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from factory.errors import StorageUnavailable

READ_ATTEMPTS = 5
"""botocore repeats a request that failed, but not one whose body was cut while it was read."""

CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


def check_reply(reply: dict[str, Any], field: str, place: str) -> None:
    """Refuse a 200 that no S3 server gave, such as a proxy's page: it would pass for success."""
    if field not in reply:
        raise StorageUnavailable(f"{place}: the answer is not S3's; check AWS_ENDPOINT_URL")


def is_whole_part(shown: str, asked: tuple[int, int], body: bytes) -> bool:
    """Whether a body is all of a part that was asked for, by the reply's Content-Range, if it has one."""
    found = CONTENT_RANGE.fullmatch(shown)
    if found is None:
        return not shown
    first, last, size = int(found[1]), int(found[2]), found[3]
    end = asked[1] if size == "*" else min(asked[1], int(size))
    return (first, last + 1, len(body)) == (asked[0], end, end - first)


def stored_at(when: datetime | None, reply: dict[str, Any]) -> float:
    """Seconds since 1970 of a reply's time; where it names none the object passes for a new one."""
    if when is not None:
        return when.timestamp()
    date = date_of(reply)
    return math.inf if date is None else date


def date_of(reply: dict[str, Any]) -> float | None:
    """When a reply was sent, by its server's clock."""
    date = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return parsedate_to_datetime(date).timestamp() if date else None


def pause(attempt: int) -> None:
    """Before another attempt at a reply that came back cut."""
    if attempt < READ_ATTEMPTS:
        time.sleep(0.05 * 2**attempt)
