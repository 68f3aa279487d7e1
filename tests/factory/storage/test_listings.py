"""A listing is believed only where it is whole: servers that cut, repeat, forget and skip."""

from collections.abc import Callable
from typing import Any

import pytest

from factory.errors import StorageRefused
from factory.storage.s3 import pages as s3_pages

KEYS = [f"run/{number:03}" for number in range(7)]
Page = dict[str, Any]
Server = Callable[[Page], Page]


def server(
    keys: list[str] = KEYS,
    *,
    most: int = 3,
    token: Callable[[str], str | None] = lambda last: last,
    starts_after: bool = True,
    tells_cut: bool = True,
    tells_most: bool = True,
) -> Server:
    """Pages of `most` names as S3 gives them, but for what is told."""

    def ask(fields: Page) -> Page:
        after = fields.get("ContinuationToken", "")
        if starts_after:
            after = fields.get("StartAfter", after)
        rest = [key for key in keys if key > after and key.startswith(fields["Prefix"])]
        size = min(most, fields.get("MaxKeys", most))
        page, cut = rest[:size], len(rest) > size
        told = {"Contents": [{"Key": key, "Size": 1} for key in page], "IsTruncated": False}
        if tells_most:
            told["MaxKeys"] = size
        if cut and tells_cut:
            told |= {"IsTruncated": True, "NextContinuationToken": token(page[-1])}
        return {name: value for name, value in told.items() if value is not None}

    return ask


def listed(ask: Server, prefix: str = "run/", **fields: int) -> list[str]:
    return [entry["Key"] for entry, _ in s3_pages.objects(ask, "s3://b/run", prefix, **fields)]


@pytest.mark.parametrize(
    "ask",
    [
        server(),
        server(most=1000, tells_most=False),
        server(most=7),
        server(token=lambda _: None),
        server(tells_cut=False),
    ],
    ids=["tokens", "one page", "just full", "no token", "full, called whole"],
)
def test_a_listing_is_gone_on_with_to_its_end(ask: Server) -> None:
    assert listed(ask) == KEYS
    assert listed(ask, "run/00", most=1) == KEYS


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        (server(token=lambda _: None, starts_after=False), "cut the listing and gave no token"),
        (server(token=lambda _: "", starts_after=False), "names out of order, or twice"),
        (server(tells_cut=False, starts_after=False), "a full page, and the same one when asked"),
    ],
    ids=["no token", "a token that leads to the beginning", "full, called whole"],
)
def test_a_listing_that_does_not_go_on_is_refused(ask: Server, why: str) -> None:
    with pytest.raises(
        StorageRefused, match=f"ListObjectsV2.* {why}.*; this server cannot be used"
    ):
        listed(ask)


@pytest.mark.parametrize("keys", [["run/2", "run/1"], ["run/1", "run/1"], ["run/1", "ran/2"]])
def test_names_out_of_order_twice_or_of_another_prefix_are_refused(keys: list[str]) -> None:
    page = {"Contents": [{"Key": key} for key in keys], "IsTruncated": False}
    with pytest.raises(StorageRefused, match="this server cannot be used"):
        listed(lambda _: page)


def test_names_are_in_order_of_their_bytes() -> None:
    names = ["run/Z", "run/a", "run/\u00e4", "run/\uffee", "run/\U0001f600"]
    assert listed(server(sorted(names, key=str.encode), most=2)) == names


def test_empty_pages_are_gone_on_from_while_their_tokens_are_new() -> None:
    pages = {"": "1", "1": "2", "2": "3"}

    def ask(fields: Page) -> Page:
        token = pages.get(fields.get("ContinuationToken", ""))
        if token:
            return {"IsTruncated": True, "NextContinuationToken": token}
        return {"Contents": [{"Key": "run/1"}], "IsTruncated": False}

    assert listed(ask) == ["run/1"]


@pytest.mark.parametrize("token", [None, "again"])
def test_empty_pages_without_a_way_on_are_refused(token: str | None) -> None:
    page = {"IsTruncated": True} | ({"NextContinuationToken": token} if token else {})
    with pytest.raises(StorageRefused, match="gave (no token|one token twice)"):
        listed(lambda _: page)


def test_empty_pages_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_pages, "EMPTY_PAGES", 5)
    tokens = iter(range(100))
    with pytest.raises(StorageRefused, match="more than 5 empty pages"):
        listed(lambda _: {"IsTruncated": True, "NextContinuationToken": str(next(tokens))})


UPLOADS = [("run/a", "9"), ("run/a", "1"), ("run/b", "5"), ("run/c", "2"), ("run/c", "1")]


def test_a_server_that_gives_more_than_it_was_asked_for_is_believed() -> None:
    whole = {"Contents": [{"Key": key} for key in KEYS], "IsTruncated": False}
    for told in ({}, {"MaxKeys": 1000}):
        assert listed(lambda _, told=told: whole | told, most=1) == KEYS  # type: ignore[misc]


def upload_server(*, marks: bool, goes_on: bool = True) -> Server:
    def ask(fields: Page) -> Page:
        after = (fields.get("KeyMarker"), fields.get("UploadIdMarker"))
        start = UPLOADS.index(after) + 1 if goes_on and after[0] else 0  # type: ignore[arg-type]
        page, cut = UPLOADS[start : start + 2], start + 2 < len(UPLOADS)
        told: Page = {"Uploads": [{"Key": k, "UploadId": i} for k, i in page], "IsTruncated": cut}
        if cut and marks:
            told |= {"NextKeyMarker": page[-1][0], "NextUploadIdMarker": page[-1][1]}
        return told

    return ask


@pytest.mark.parametrize("marks", [True, False])
def test_uploads_are_gone_on_with_and_never_shown_twice(marks: bool) -> None:
    def shown(ask: Server) -> list[tuple[str, str]]:
        return [(one["Key"], one["UploadId"]) for one in s3_pages.uploads(ask, "s3://b", "run/")]

    assert shown(upload_server(marks=marks)) == UPLOADS
    with pytest.raises(StorageRefused, match="ListMultipartUploads"):
        shown(upload_server(marks=marks, goes_on=False))
