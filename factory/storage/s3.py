"""An S3 bucket as an object store; endpoint, region and keys come from the AWS environment."""

import base64
import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
)
from botocore.parsers import ResponseParserError

from factory.errors import ConfigError, StorageUnavailable
from factory.storage.key_rules import check_key, check_prefix, is_key
from factory.storage.protocol import ObjectInfo, Upload
from factory.storage.s3_client import connect
from factory.storage.s3_errors import error_of, status_of

BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,62}")

READ_ATTEMPTS = 3
"""botocore repeats a request that failed, but not one whose body was cut while it was read."""


class S3Store:
    """Objects in a bucket, below a prefix. Threads may share one; it travels by pickle."""

    def __init__(self, uri: str) -> None:
        self.bucket, self.prefix = split_uri(uri)
        self.uri = f"s3://{self.bucket}/{self.prefix}".rstrip("/")
        self._client: Any = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"S3Store({self.uri!r})"

    def __reduce__(self) -> tuple[type["S3Store"], tuple[str]]:
        # The client holds keys and sockets; the receiver makes one from its own environment.
        return S3Store, (self.uri,)

    def put(self, key: str, data: bytes) -> None:
        """The server refuses a body that was damaged on its way."""
        name = self._name(key)
        with self._translated("PutObject", key):
            reply = self.client.put_object(
                Bucket=self.bucket, Key=name, Body=data, ContentMD5=md5_of(data)
            )
            check_reply(reply, "ETag", f"{self.uri}/{key}")

    def put_new(self, key: str, data: bytes) -> bool:
        """False may also mean this very call: a repeated request meets its own first try.

        That happens where the first reply was lost, and so the caller compares what is stored.
        """
        name = self._name(key)
        with self._translated("PutObject", key):
            try:
                reply = self.client.put_object(
                    Bucket=self.bucket,
                    Key=name,
                    Body=data,
                    ContentMD5=md5_of(data),
                    IfNoneMatch="*",
                )
            except ClientError as error:
                if status_of(error) == 412:
                    return False
                raise
            check_reply(reply, "ETag", f"{self.uri}/{key}")
        return True

    def get(self, key: str) -> bytes:
        """The whole object."""
        return self._read(key)[1]

    def get_part(self, key: str, first: int, count: int) -> bytes:
        """Where a server knows no ranges and sends the whole object, its part is returned."""
        end = first + count
        reply, body = self._read(key, Range=f"bytes={first}-{end - 1}")
        if reply.get("ContentRange", "").startswith(f"bytes {first}-"):
            return body
        return body[first:end]

    def _read(self, key: str, **part: str) -> tuple[dict[str, Any], bytes]:
        """A reply and its body; both empty where the object ends before the part begins."""
        name = self._name(key)
        with self._translated("GetObject", key):
            for attempt in range(1, READ_ATTEMPTS + 1):
                try:
                    reply = self.client.get_object(Bucket=self.bucket, Key=name, **part)
                except ClientError as error:
                    if part and status_of(error) == 416:
                        return {}, b""
                    raise
                try:
                    return reply, reply["Body"].read()
                except (HTTPClientError, IncompleteReadError):
                    if attempt == READ_ATTEMPTS:
                        raise
        raise StorageUnavailable(f"{self.uri}/{key}: not read")

    def find(self, key: str) -> ObjectInfo | None:
        """The object's size, or None where there is none."""
        name = self._name(key)
        with self._translated("HeadObject", key):
            try:
                reply = self.client.head_object(Bucket=self.bucket, Key=name)
            except ClientError as error:
                if status_of(error) != 404:
                    raise
                # A reply to HEAD has no body to tell a missing object from a missing bucket.
                self.client.head_bucket(Bucket=self.bucket)
                return None
        return ObjectInfo(key, reply["ContentLength"], seconds(reply.get("LastModified")))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Objects whose name is no key (such as a console's `folder/`) are passed over."""
        check_prefix(prefix)
        return (info for info in self._pages(prefix) if is_key(info.key))

    def names(self) -> Iterator[str]:
        """All names below the root, those included that are no keys and that `list` passes over."""
        return (info.key for info in self._pages(""))

    def _pages(self, prefix: str) -> Iterator[ObjectInfo]:
        root = f"{self.prefix}/" if self.prefix else ""
        with self._translated("ListObjectsV2", prefix):
            pages = self.client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=root + prefix):
                check_reply(page, "IsTruncated", self.uri)
                for entry in page.get("Contents", []):
                    key = entry["Key"].removeprefix(root)
                    yield ObjectInfo(key, entry["Size"], seconds(entry.get("LastModified")))

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""
        name = self._name(key)
        with self._translated("DeleteObject", key):
            self.client.delete_object(Bucket=self.bucket, Key=name)

    def uploads(self) -> Iterator[Upload]:
        """Multipart uploads below the prefix: this program begins none, other tools may."""
        root = f"{self.prefix}/" if self.prefix else ""
        with self._translated("ListMultipartUploads", ""):
            pages = self.client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self.bucket, Prefix=root):
                for entry in page.get("Uploads", []):
                    key = entry["Key"].removeprefix(root)
                    yield Upload(key, entry["UploadId"], seconds(entry.get("Initiated")))

    def abort(self, upload: Upload) -> None:
        """Remove the parts of a multipart upload."""
        root = f"{self.prefix}/" if self.prefix else ""
        with self._translated("AbortMultipartUpload", upload.key):
            self.client.abort_multipart_upload(
                Bucket=self.bucket, Key=root + upload.key, UploadId=upload.name
            )

    def now(self) -> float:
        """The server's clock, as it dates its replies."""
        with self._translated("HeadBucket", ""):
            reply = self.client.head_bucket(Bucket=self.bucket)
        date = reply["ResponseMetadata"].get("HTTPHeaders", {}).get("date")
        return parsedate_to_datetime(date).timestamp() if date else time.time()

    @property
    def client(self) -> Any:  # boto3's clients are built at run time and have no types of their own
        """The connection, made when it is first needed."""
        with self._lock:
            if self._client is None:
                self._client = connect()
            return self._client

    def _name(self, key: str) -> str:
        check_key(key)
        return f"{self.prefix}/{key}" if self.prefix else key

    @contextmanager
    def _translated(self, verb: str, key: str) -> Iterator[None]:
        """Errors of this project in place of botocore's, whose texts may quote requests."""
        try:
            yield
        except (BotoCoreError, ClientError, ResponseParserError, ValueError) as error:
            raise error_of(error, verb, f"{self.uri}/{key}") from None


def split_uri(uri: str) -> tuple[str, str]:
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
    if prefix and not is_key(prefix):
        raise ConfigError(
            "store: expected a prefix of letters, digits and ._- in parts separated by /, "
            f"got {prefix!r} in {uri!r}"
        )
    return bucket, prefix


def check_reply(reply: dict[str, Any], field: str, place: str) -> None:
    """Refuse a 200 that no S3 server gave, such as a proxy's page: it would pass for success."""
    if field not in reply:
        raise StorageUnavailable(f"{place}: the answer is not S3's; check AWS_ENDPOINT_URL")


def seconds(when: datetime | None) -> float:
    """Seconds since 1970 of a reply's time; the present where it names none, so that it is young."""
    return when.timestamp() if when else time.time()


def md5_of(data: bytes) -> str:
    """The Content-MD5 header: a guard against accidents, hence allowed where MD5 is not."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
