"""What is special about S3: lost replies, refusals, and keys that must stay secret."""

import os
import pickle
import socket
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any, NoReturn

import boto3
import pytest
from botocore.exceptions import ConnectionClosedError

import factory.storage.s3.store as s3
from factory.errors import (
    EditmillError,
    ObjectMissing,
    StorageError,
    StorageRefused,
    StorageUnavailable,
)
from factory.storage.probe import probe
from factory.storage.protocol import ObjectStore
from factory.storage.s3.replies import is_whole_part, stored_at
from factory.storage.s3.store import S3Store
from tests.servers.fixtures import S3Access

from .conftest import SECRET, bucket_of
from .crooked import (
    Act,
    answer,
    crooked_server,
    cut,
    forward,
    forward_and_hang_up,
    hang_up,
    page,
    reply,
)

VERBS: dict[str, Callable[[ObjectStore], object]] = {
    "put": lambda store: store.put("a", b"1"),
    "put_new": lambda store: store.put_new("a", b"1"),
    "get": lambda store: store.get("a"),
    "get_part": lambda store: store.get_part("a", 10, 5),
    "find": lambda store: store.find("a"),
    "list": lambda store: list(store.list()),
}


@pytest.fixture
def crooked(moto_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], S3Store]:
    """A new store of the emulator's bucket behind another endpoint."""
    # Waits between the attempts would only take time.
    monkeypatch.setattr("time.sleep", lambda _: None)

    def store_at(endpoint: str) -> S3Store:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        return S3Store(f"{moto_bucket}/{os.urandom(8).hex()}")

    return store_at


def test_a_repeated_conditional_write_may_meet_itself(
    crooked: Callable[[str], S3Store], moto: S3Access
) -> None:
    acts = forward_and_hang_up(moto.endpoint), forward(moto.endpoint)
    with crooked_server(*acts) as endpoint:
        store = crooked(endpoint)
        assert store.put_new("a", b"mine") is False
        assert store.get("a") == b"mine"


def test_a_write_whose_every_reply_is_lost_is_unclear_and_can_be_looked_up(
    crooked: Callable[[str], S3Store], moto: S3Access
) -> None:
    lost = [forward_and_hang_up(moto.endpoint)] * 3
    with crooked_server(*lost, forward(moto.endpoint)) as endpoint:
        store = crooked(endpoint)
        with pytest.raises(StorageUnavailable, match="no answer"):
            store.put_new("a", b"mine")
        assert store.get("a") == b"mine"


def test_a_lost_reply_to_a_plain_write_is_made_good(
    crooked: Callable[[str], S3Store], moto: S3Access
) -> None:
    acts = forward_and_hang_up(moto.endpoint), forward(moto.endpoint)
    with crooked_server(*acts) as endpoint:
        store = crooked(endpoint)
        store.put("a", b"mine")
        assert store.get("a") == b"mine"


def test_an_object_whose_reading_was_cut_is_read_again(
    crooked: Callable[[str], S3Store], moto: S3Access
) -> None:
    with crooked_server(forward(moto.endpoint), cut, cut, forward(moto.endpoint)) as endpoint:
        store = crooked(endpoint)
        store.put("a", b"x" * 1000)
        assert store.get("a") == b"x" * 1000


@pytest.mark.parametrize("verb", ["get", "get_part"])
def test_an_object_that_is_always_cut_is_never_returned(
    crooked: Callable[[str], S3Store], verb: str
) -> None:
    with crooked_server(cut) as endpoint, pytest.raises(StorageUnavailable):
        VERBS[verb](crooked(endpoint))


@pytest.mark.parametrize(
    ("shown", "length", "whole"),
    [
        ("bytes 10-19/100", 10, True),
        ("bytes 10-19/*", 10, True),
        ("bytes 10-12/13", 3, True),
        ("bytes 10-12/100", 3, False),
        ("bytes 10-19/100", 9, False),
        ("bytes 0-9/100", 10, False),
        ("bytes 10-19", 10, False),
        ("", 100, True),
    ],
)
def test_a_part_is_whole_where_it_is_all_that_was_asked_for(
    shown: str, length: int, whole: bool
) -> None:
    assert is_whole_part(shown, (10, 20), bytes(length)) is whole


def test_a_part_that_was_cut_and_looks_whole_is_read_again(
    crooked: Callable[[str], S3Store], moto: S3Access
) -> None:
    def short(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", "bytes 2-5/10")
        handler.send_header("Content-Length", "3")
        handler.end_headers()
        handler.wfile.write(b"cut")

    def all_of_it(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        reply(handler, 200, b"0123456789")

    with crooked_server(short, short, all_of_it) as endpoint:
        assert crooked(endpoint).get_part("a", 2, 4) == b"2345"
    with (
        crooked_server(short) as endpoint,
        pytest.raises(StorageUnavailable, match="came back cut"),
    ):
        crooked(endpoint).get_part("a", 2, 4)


def test_a_page_of_a_listing_that_was_cut_is_asked_for_again(
    crooked: Callable[[str], S3Store], moto: S3Access
) -> None:
    def half(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        reply(handler, 200, b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a/b")

    def counts(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        page = b"<IsTruncated>false</IsTruncated><KeyCount>1</KeyCount>"
        reply(handler, 200, b"<ListBucketResult>" + page + b"</ListBucketResult>")

    to_moto = forward(moto.endpoint)
    with crooked_server(to_moto, half, counts, to_moto) as endpoint:
        store = crooked(endpoint)
        store.put("commits/0", b"1")
        assert [info.key for info in store.list()] == ["commits/0"]
    refused = pytest.raises(StorageRefused, match="fewer names than it counts")
    with crooked_server(counts) as endpoint, refused:
        list(crooked(endpoint).list())


def test_of_a_server_that_knows_no_ranges_the_part_is_taken(
    crooked: Callable[[str], S3Store],
) -> None:
    def whole(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        reply(handler, 200, b"0123456789")

    with crooked_server(whole) as endpoint:
        store = crooked(endpoint)
        assert store.get_part("a", 3, 4) == b"3456"
        assert store.get_part("a", 8, 4) == b"89"
        assert store.get_part("a", 10, 4) == b""


@pytest.mark.parametrize(
    "act",
    [answer(400, "RequestTimeout"), answer(400, "BadDigest")]
    + [answer(status, "Anything") for status in (409, 429, 500, 502, 503)]
    + [hang_up],
    ids=lambda act: act.__name__,
)
def test_no_clear_answer_is_unavailable(crooked: Callable[[str], S3Store], act: Act) -> None:
    with crooked_server(act) as endpoint:
        store = crooked(endpoint)
        for verb, call in VERBS.items():
            if verb == "find" and act.__name__.startswith("answer 400"):
                continue  # A reply to HEAD carries no code.
            with pytest.raises(StorageUnavailable):
                call(store)


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        (403, "AccessDenied", "s3:ListBucket"),
        (403, "RequestTimeTooSkewed", "clock"),
        (400, "ExpiredToken", "expired"),
        (400, "AuthorizationHeaderMalformed", "AWS_REGION"),
        (404, "NoSuchBucket", "create the bucket"),
        (501, "NotImplemented", "conditional PUT"),
        (400, "SomethingNew", "not accepted"),
    ],
)
def test_a_refusal_says_what_to_do(
    crooked: Callable[[str], S3Store], status: int, code: str, remedy: str
) -> None:
    with crooked_server(answer(status, code)) as endpoint:
        store = crooked(endpoint)
        for verb, call in VERBS.items():
            if verb == "find":
                continue  # A reply to HEAD carries no code.
            with pytest.raises(StorageRefused, match=remedy) as caught:
                call(store)
            assert code in str(caught.value)
            assert store.uri in str(caught.value)


@pytest.mark.parametrize(
    ("status", "remedy"), [(403, "AWS_ACCESS_KEY_ID"), (404, "create the bucket")]
)
def test_a_refusal_without_a_body_says_what_to_do(
    crooked: Callable[[str], S3Store], status: int, remedy: str
) -> None:
    with crooked_server(answer(status, "")) as endpoint:
        store = crooked(endpoint)
        with pytest.raises(StorageRefused, match=remedy):
            store.find("a")


@pytest.mark.parametrize("verb", ["get", "get_part", "put", "put_new", "list"])
def test_a_404_whose_body_was_cut_does_not_say_what_is_missing(
    crooked: Callable[[str], S3Store], verb: str
) -> None:
    with crooked_server(answer(404, "")) as endpoint:
        store = crooked(endpoint)
        with pytest.raises(StorageUnavailable):
            VERBS[verb](store)


@pytest.mark.parametrize("verb", ["put", "put_new", "list"])
def test_a_web_page_is_not_taken_for_success_or_an_empty_bucket(
    crooked: Callable[[str], S3Store], verb: str
) -> None:
    with crooked_server(page) as endpoint:
        store = crooked(endpoint)
        with pytest.raises(StorageUnavailable, match="not S3's"):
            VERBS[verb](store)


def test_a_dead_endpoint_is_unavailable(crooked: Callable[[str], S3Store]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    store = crooked(f"http://127.0.0.1:{port}")
    for call in (*VERBS.values(), probe):
        with pytest.raises(StorageUnavailable, match="AWS_ENDPOINT_URL"):
            call(store)


@pytest.mark.parametrize("server", ["moto", pytest.param("ceph", marks=pytest.mark.servers)])
def test_a_missing_bucket_is_refused(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    request.getfixturevalue(server).export(monkeypatch)
    store = S3Store("s3://no-such-bucket-7/run")
    for call in (*VERBS.values(), probe):
        with pytest.raises(StorageRefused, match="create the bucket"):
            call(store)


@pytest.mark.parametrize("wrong", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
@pytest.mark.servers
def test_wrong_keys_are_refused(
    ceph: S3Access, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    ceph.export(monkeypatch)
    store = S3Store(f"s3://{bucket_of(ceph)}/run")
    monkeypatch.setenv(wrong, "wrong-canary")
    for call in (*VERBS.values(), probe):
        with pytest.raises(StorageRefused, match="AWS_ACCESS_KEY_ID") as caught:
            call(store)
        assert "wrong-canary" not in shown(caught.value)
        assert ceph.secret_key not in shown(caught.value)


@pytest.mark.servers
def test_a_body_that_was_damaged_on_its_way_is_not_stored(
    ceph: S3Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    ceph.export(monkeypatch)
    store = S3Store(f"s3://{bucket_of(ceph)}/{os.urandom(8).hex()}")
    intended = s3.md5_of(b"what was meant")
    monkeypatch.setattr(s3, "md5_of", lambda _: intended)
    for write in (store.put, store.put_new):
        with pytest.raises(StorageUnavailable, match="BadDigest"):
            write("a", b"what arrived")
    assert store.find("a") is None


def test_without_keys_the_message_names_the_variables(
    crooked: Callable[[str], S3Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = crooked("http://127.0.0.1:9")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(StorageRefused, match="AWS_ACCESS_KEY_ID"):
        store.get("a")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StorageRefused, match="AWS_ACCESS_KEY_ID"):
        store.get("a")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ENDPOINT_URL", "127.0.0.1:9"),
        ("AWS_ENDPOINT_URL", f"http://user:{SECRET}@127.0.0.1:9"),
        ("AWS_PROFILE", "nobody"),
        ("AWS_SECRET_ACCESS_KEY", f"{SECRET}\n"),
        ("AWS_ACCESS_KEY_ID", f"{SECRET}\n"),
        ("AWS_SECRET_ACCESS_KEY", f" {SECRET}"),
        ("AWS_SESSION_TOKEN", f"{SECRET}\n{SECRET}"),
        ("AWS_REGION", "no region"),
        ("AWS_DEFAULT_REGION", "no region"),
    ],
)
def test_impossible_settings_are_refused_and_not_repeated(
    crooked: Callable[[str], S3Store], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    store = crooked("http://127.0.0.1:9")
    monkeypatch.setenv(name, value)
    for call in VERBS.values():
        with pytest.raises(StorageRefused) as caught:
            call(store)
        assert SECRET not in shown(caught.value)


@pytest.mark.parametrize("status", [400, 403, 404, 409, 500])
def test_no_error_repeats_what_the_server_quoted(
    crooked: Callable[[str], S3Store], status: int
) -> None:
    with crooked_server(answer(status, "SomethingNew")) as endpoint:
        store = crooked(endpoint)
        for call in VERBS.values():
            with pytest.raises(StorageError) as caught:
                call(store)
            for canary in (SECRET, "canary-access-key", "Credential="):
                assert canary not in shown(caught.value)


def test_neither_the_store_nor_its_pickle_holds_the_keys(moto_bucket: str) -> None:
    store = S3Store(f"{moto_bucket}/run")
    store.put("a", b"1")
    assert repr(store) == f"S3Store('{moto_bucket}/run')"
    for text in (repr(store), str(vars(store)), pickle.dumps(store).decode("latin-1")):
        assert "canary" not in text


def test_a_foreign_endpoint_gets_the_bucket_in_the_path(
    crooked: Callable[[str], S3Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    crooked("http://storage.example:9000")
    assert url_of(S3Store("s3://bucket/run")).startswith("http://storage.example:9000/bucket/run/a")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://other.example:9000")
    assert url_of(S3Store("s3://bucket/run")).startswith("http://other.example:9000/bucket/run/a")


def test_amazon_is_the_default(
    crooked: Callable[[str], S3Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    crooked("")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    assert S3Store("s3://bucket/run").client.meta.region_name == "us-east-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    store = S3Store("s3://bucket/run")
    assert store.client.meta.endpoint_url == "https://s3.eu-west-3.amazonaws.com"
    assert url_of(store).startswith("https://bucket.s3.")
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    assert S3Store("s3://bucket/run").client.meta.region_name == "eu-north-1"


def test_folders_made_by_consoles_are_passed_over(moto_bucket: str) -> None:
    store = S3Store(moto_bucket)
    store.put("commits/0", b"1")
    for name in ("commits/", "with blank", ".hidden"):
        store.client.put_object(Bucket=store.bucket, Key=f"{store.prefix}/{name}", Body=b"")
    assert [info.key for info in store.list()] == ["commits/0"]


@pytest.mark.parametrize("server", ["moto", pytest.param("ceph", marks=pytest.mark.servers)])
def test_multipart_uploads_are_listed_below_the_prefix_and_aborted(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    access: S3Access = request.getfixturevalue(server)
    access.export(monkeypatch)
    bucket = bucket_of(access)
    store, other = (S3Store(f"s3://{bucket}/{os.urandom(8).hex()}") for _ in range(2))
    for one in (store, other):
        one.client.create_multipart_upload(Bucket=one.bucket, Key=f"{one.prefix}/pairs/big")
    (found,) = store.uploads()
    assert found.key == "pairs/big"
    # The emulator says 2010 of every upload.
    assert server == "moto" or abs(found.begun - store.now()) < 60
    store.abort(found)
    assert list(store.uploads()) == []
    assert len(list(other.uploads())) == 1


def test_a_whole_bucket_can_be_a_store(moto: S3Access, monkeypatch: pytest.MonkeyPatch) -> None:
    moto.export(monkeypatch)
    boto3.session.Session().client("s3", region_name="us-east-1").create_bucket(Bucket="whole")
    store = S3Store("s3://whole")
    store.put("a/b", b"1")
    assert [info.key for info in store.list()] == ["a/b"]
    with pytest.raises(ObjectMissing, match="s3://whole/c"):
        store.get("c")


def test_an_object_of_which_no_time_is_told_passes_for_new() -> None:
    when = datetime(2026, 11, 26, tzinfo=UTC)
    dated = {"ResponseMetadata": {"HTTPHeaders": {"date": "Thu, 26 Nov 2026 00:00:00 GMT"}}}
    assert stored_at(when, {}) == when.timestamp()
    assert stored_at(None, dated) == when.timestamp()
    assert stored_at(None, {}) > time.time() + 1e9


def test_a_server_that_dates_nothing_has_no_clock(
    moto_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = S3Store(f"{moto_bucket}/run")
    assert abs(store.now() - time.time()) < 60
    monkeypatch.setattr(s3, "date_of", lambda reply: None)
    with pytest.raises(StorageRefused, match="replies must be dated"):
        store.now()


def url_of(store: S3Store) -> str:
    """Where a request would go."""
    urls: list[str] = []

    def note(request: Any, **_: object) -> NoReturn:
        urls.append(request.url)
        raise ConnectionClosedError(endpoint_url=request.url)

    store.client.meta.events.register("before-send.s3", note)
    with pytest.raises(StorageUnavailable):
        store.get("a")
    return urls[0]


def shown(error: EditmillError | Exception) -> str:
    """All that a log may show of an error."""
    return repr(error) + "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    ("key", "data", "kind"),
    [
        ("a.x", b"\x89PNG\r\n\x1a\n...", "image/png"),
        ("a.png", b"\xff\xd8\xff\xe0...", "image/jpeg"),
        ("a", b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        ("a.wav", b"RIFF\0\0\0\0WAVE", "binary/octet-stream"),
        ("report/index.html", b"<!doctype html>", "text/html; charset=utf-8"),
        ("a/b.parquet", b"PAR1", "application/vnd.apache.parquet"),
        ("a/b", b"", "binary/octet-stream"),
    ],
)
@pytest.mark.parametrize("verb", ["put", "put_new"])
def test_an_object_says_what_it_is(
    verb: str, key: str, data: bytes, kind: str, moto_bucket: str
) -> None:
    store = S3Store(moto_bucket)
    getattr(store, verb)(key, data)
    bucket, _, prefix = moto_bucket.removeprefix("s3://").partition("/")
    found = boto3.client("s3").head_object(Bucket=bucket, Key=f"{prefix}/{key}")
    assert found["ContentType"] == kind


def test_a_run_may_lie_where_a_table_is_partitioned(moto_bucket: str) -> None:
    store = S3Store(f"{moto_bucket}/dt=2026-11-29/run")
    store.put("a.json", b"{}")
    assert [info.key for info in store.list()] == ["a.json"]
    assert store.around("run").get("run/a.json") == b"{}"
