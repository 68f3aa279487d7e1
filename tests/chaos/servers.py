"""The S3 server behind the fault proxy, and a way to it that is not spoilt."""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import boto3

from factory.storage.protocol import ObjectStore
from factory.storage.s3.store import S3Store
from tests.servers.ceph import Cluster
from tests.servers.emulator import emulator
from tests.servers.processes import Server
from tests.servers.swift import Swift

BUCKET = "editmill-chaos"
REAL: dict[str, type[Server]] = {"ceph": Cluster, "swift": Swift}


@contextmanager
def s3_server(kind: str) -> Iterator[str]:
    """The endpoint of a server with the bucket; the AWS environment leads there meanwhile.

    `moto` is an emulator in this process, `ceph` and `swift` are real servers with processes of
    their own, and anything else is the endpoint of one that runs, its keys in the environment.
    """
    if kind == "moto":
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = emulator()
        server.start()
        host, port = server.get_host_and_port()
        try:
            with _environment(f"http://{host}:{port}", "test", "test") as endpoint:
                yield endpoint
        finally:
            server.stop()
    elif kind in REAL:
        with tempfile.TemporaryDirectory(prefix=f"editmill-{kind}-") as folder:
            real = REAL[kind](Path(folder))
            try:
                real.up()
                with _environment(*real.access.values()) as endpoint:
                    yield endpoint
            finally:
                real.down(kill=True)
    else:
        access_keys = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        with _environment(kind, *access_keys) as endpoint:
            yield endpoint


@contextmanager
def _environment(endpoint: str, access_key: str, secret_key: str) -> Iterator[str]:
    others = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    ours = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with patch.dict(os.environ, others | ours, clear=True):
        session = boto3.session.Session()
        session.client("s3", region_name="us-east-1").create_bucket(Bucket=BUCKET)
        yield endpoint


def direct_store(uri: str, endpoint: str) -> ObjectStore:
    """A store that goes to this endpoint whatever the environment says later."""
    store = S3Store(uri)
    with patch.dict(os.environ, AWS_ENDPOINT_URL=endpoint):
        assert store.client is not None
    return store
