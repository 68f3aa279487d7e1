"""An S3 bucket as an object store; endpoint, region and keys come from the AWS environment."""

import base64
import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from botocore import xform_name
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
from botocore.parsers import ResponseParserError

from factory import deeds
from factory.errors import ConfigError, StorageRefused, StorageUnavailable
from factory.storage.key_rules import OWN, USERS, KeyRules
from factory.storage.patience import patiently
from factory.storage.protocol import ObjectInfo, Upload
from factory.storage.s3 import pages as s3_pages
from factory.storage.s3.client import connect
from factory.storage.s3.content_type import content_type
from factory.storage.s3.errors import code_of, error_of, status_of
from factory.storage.s3.held_body import HeldBody
from factory.storage.s3.replies import (
    READ_ATTEMPTS,
    check_reply,
    date_of,
    is_whole_part,
    pause,
    stored_at,
)

BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,62}")


class S3Store:
    """Objects in a bucket, below a prefix. Threads may share one; it travels by pickle."""

    def __init__(self, uri: str, keys: KeyRules = OWN) -> None:
        self.bucket, self.prefix = split_uri(uri, keys)
        self.keys = keys
        self.uri = f"s3://{self.bucket}/{self.prefix}".rstrip("/")
        self._root = f"{self.prefix}/" if self.prefix else ""
        self._client: Any = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"S3Store({self.uri!r})"

    def __reduce__(self) -> tuple[type["S3Store"], tuple[str, KeyRules]]:
        # The client holds keys and sockets; the receiver makes one from its own environment.
        return S3Store, (self.uri, self.keys)

    def put(self, key: str, data: bytes) -> None:
        """The server refuses a body that was damaged on its way."""
        name = self._name(key)
        with self._translated("PutObject", key):
            reply = self.client.put_object(**self._body(name, data))
            check_reply(reply, "ETag", f"{self.uri}/{key}")
        deeds.wrote(key)

    def put_new(self, key: str, data: bytes) -> bool:
        """False may also mean this very call: a repeated request meets its own first try.

        That happens where the first reply was lost, and so the caller compares what is stored.
        """
        return self._put_new(key, self._body(self._name(key), data))

    def put_new_across(self, key: str, data: bytes, meanwhile: Callable[[], None]) -> bool:
        """A server that looks whether the key is free before it has the bytes has done so by then."""
        held = HeldBody(data, meanwhile)
        with held.sent_by(self.client):
            return self._put_new(key, self._body(self._name(key), data) | {"Body": held})

    def _put_new(self, key: str, body: dict[str, Any]) -> bool:
        with self._translated("PutObject", key):
            try:
                reply = self.client.put_object(**body, IfNoneMatch="*")
            except ClientError as error:
                if status_of(error) == 412 or code_of(error) == "PreconditionFailed":
                    return False
                raise
            check_reply(reply, "ETag", f"{self.uri}/{key}")
        deeds.wrote(key)
        return True

    def _body(self, name: str, data: bytes) -> dict[str, Any]:
        told = {"Bucket": self.bucket, "Key": name, "Body": data, "ContentMD5": md5_of(data)}
        kind = content_type(name, data)
        return told | {"ContentType": kind} if kind else told

    def get(self, key: str) -> bytes:
        return self._read(key)[1]

    def get_part(self, key: str, first: int, count: int) -> bytes:
        """Where a server knows no ranges and sends the whole object, its part is returned."""
        end = first + count
        reply, body = self._read(key, (first, end))
        return body if "ContentRange" in reply else body[first:end]

    def _read(self, key: str, part: tuple[int, int] | None = None) -> tuple[dict[str, Any], bytes]:
        """A reply and its body; both empty where the object ends before the part begins."""
        asked = {} if part is None else {"Range": f"bytes={part[0]}-{part[1] - 1}"}
        name = self._name(key)
        with self._translated("GetObject", key):
            for attempt in range(1, READ_ATTEMPTS + 1):
                try:
                    reply = self.client.get_object(Bucket=self.bucket, Key=name, **asked)
                except ClientError as error:
                    if part and status_of(error) == 416:
                        return {}, b""
                    raise
                try:
                    body = reply["Body"].read()
                except (HTTPClientError, IncompleteReadError):
                    if attempt == READ_ATTEMPTS:
                        raise
                else:
                    if part is None or is_whole_part(reply.get("ContentRange", ""), part, body):
                        return reply, body
                pause(attempt)
        raise StorageUnavailable(f"{self.uri}/{key}: came back cut {READ_ATTEMPTS} times")

    def find(self, key: str) -> ObjectInfo | None:
        name = self._name(key)
        with self._translated("HeadObject", key):
            try:
                reply = self.client.head_object(Bucket=self.bucket, Key=name)
            except ClientError as error:
                if status_of(error) != 404:
                    part = {"Key": name, "Range": "bytes=0-0"}
                    raise self._with_code(error, self.client.get_object, **part) from None
                # A reply to HEAD has no body to tell a missing object from a missing bucket.
                self._head_bucket()
                return None
        return ObjectInfo(key, reply["ContentLength"], stored_at(reply.get("LastModified"), reply))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Objects whose name is no key (such as a console's `folder/`) are passed over."""
        return self.list_by(prefix, s3_pages.PAGE_NAMES)

    def list_by(self, prefix: str, most: int) -> Iterator[ObjectInfo]:
        self.keys.check_prefix(prefix)
        return (info for info in self._listed(prefix, most) if self.keys.is_key(info.key))

    def names(self) -> Iterator[str]:
        return (info.key for info in self._listed("", s3_pages.PAGE_NAMES))

    def _listed(self, prefix: str, most: int) -> Iterator[ObjectInfo]:
        ask = partial(self._page, s3_pages.OBJECTS)
        for entry, page in s3_pages.objects(ask, self.uri, self._root + prefix, most):
            key = entry["Key"].removeprefix(self._root)
            yield ObjectInfo(key, entry["Size"], stored_at(entry.get("LastModified"), page))

    def _page(self, verb: str, fields: dict[str, Any]) -> dict[str, Any]:
        """A page of a listing: what was listed before it is not given up at an unclear answer."""

        def ask() -> dict[str, Any]:
            with self._translated(verb, fields["Prefix"].removeprefix(self._root)):
                call = getattr(self.client, xform_name(verb))
                return s3_pages.whole_page(
                    partial(call, Bucket=self.bucket, **fields), self.uri, verb
                )

        return patiently(ask)

    def delete(self, key: str) -> None:
        name = self._name(key)
        with self._translated("DeleteObject", key):
            self.client.delete_object(Bucket=self.bucket, Key=name)
        deeds.wrote(key)

    def uploads(self) -> Iterator[Upload]:
        """Multipart uploads below the prefix: this program begins none, other tools may."""
        ask = partial(self._page, s3_pages.UPLOADS)
        for entry in s3_pages.uploads(ask, self.uri, self._root):
            key = entry["Key"].removeprefix(self._root)
            yield Upload(key, entry["UploadId"], stored_at(entry.get("Initiated"), {}))

    def abort(self, upload: Upload) -> None:
        with self._translated("AbortMultipartUpload", upload.key):
            self.client.abort_multipart_upload(
                Bucket=self.bucket, Key=self._root + upload.key, UploadId=upload.name
            )
        deeds.wrote(upload.key)

    def now(self) -> float:
        """The server's clock, as it dates its replies."""
        with self._translated("HeadBucket", ""):
            date = date_of(self._head_bucket())
        if date is None:
            raise StorageRefused(f"{self.uri}: replies must be dated, by which to tell what is old")
        return date

    def around(self, name: str) -> "S3Store":
        """By the same connection, once there is one."""
        store = S3Store(self.uri.removesuffix(f"/{name}"), USERS)
        store._client = self._client
        return store

    def _head_bucket(self) -> dict[str, Any]:
        try:
            reply: dict[str, Any] = self.client.head_bucket(Bucket=self.bucket)
        except ClientError as error:
            raise self._with_code(error, self.client.list_objects_v2, MaxKeys=1) from None
        return reply

    def _with_code(self, error: ClientError, ask: Callable[..., Any], **fields: Any) -> ClientError:
        """A refusal of HEAD has no body, hence no code: what the server says when asked by GET."""
        if not 400 <= status_of(error) < 500:
            return error
        try:
            ask(Bucket=self.bucket, **fields)
        except ClientError as answer:
            return answer if status_of(answer) == status_of(error) else error
        return error

    @property
    def client(self) -> Any:  # boto3's clients are built at run time and have no types of their own
        """The connection, made when it is first needed."""
        with self._lock:
            if self._client is None:
                self._client = connect()
            return self._client

    def _name(self, key: str) -> str:
        self.keys.check_key(key)
        return self._root + key

    @contextmanager
    def _translated(self, verb: str, key: str) -> Iterator[None]:
        """Errors of this project in place of botocore's, whose texts may quote requests."""
        try:
            yield
        except (BotoCoreError, ClientError, ResponseParserError, ValueError) as error:
            raise error_of(error, verb, f"{self.uri}/{key}") from None


def split_uri(uri: str, keys: KeyRules = OWN) -> tuple[str, str]:
    """Bucket and prefix of `s3://bucket/prefix`; the prefix may be empty."""
    if "@" in uri or "?" in uri:
        raise ConfigError(
            "store: expected s3://bucket/prefix without keys or a signature, got some (not "
            "shown); keys belong into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    scheme, _, rest = uri.partition("://")
    bucket, _, prefix = rest.rstrip("/").partition("/")
    if scheme != "s3" or not BUCKET.fullmatch(bucket):
        raise ConfigError(f"store: expected s3://bucket/prefix, got {uri!r}")
    if prefix and not keys.is_root(prefix):
        raise ConfigError(
            "store: expected a prefix of letters, digits and ._=- in parts separated by /, "
            f"got {prefix!r} in {uri!r}"
        )
    return bucket, prefix


def md5_of(data: bytes) -> str:
    """The Content-MD5 header: a guard against accidents, hence allowed where MD5 is not."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
