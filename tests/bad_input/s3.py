"""Buckets: the address, the keys, the server's own refusals."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import boto3
import pytest

from factory.storage.open import open_store
from tests.bad_input.edits import EDIT
from tests.bad_input.materials import Step, models, parquet
from tests.bad_input.table import PLAN, S3_OUT, Case, case, generated, refused
from tests.bad_input.training_materials import ENCODE, FIT, ROW, configured
from tests.factory.storage.crooked import answer, crooked_server, cut_listings, page
from tests.servers.emulator import emulator as new_emulator
from tests.servers.fixtures import S3Access

LIST = f"{PLAN} s3://there/lists/t.jsonl"
PLACE = r"s3://there/run.*: .*"


def kept(id: str, message: str, out: str = S3_OUT, code: int = 2, **environment: str) -> Case:
    """A start of the main job with other settings of the environment."""
    return case(id, out, message, models, code=code, environment=environment)


def answered(id: str, status: int, name: str, remedy: str, command: str = S3_OUT) -> Case:
    """The server answers everything so."""
    message = rf"s3://there/.*: \w+ answered {f'{status} {name}'.rstrip()}; {remedy}"
    return case(id, command, message, models, act=answer(status, name))


REACHED = [
    kept(
        "a bucket that is missing",
        r"s3://no-such-bucket/run.*: \w+ answered 404.*; create the bucket.*",
        S3_OUT.replace("there", "no-such-bucket"),
    ),
    case(
        "a list that is not in its bucket",
        LIST,
        r"s3://there/lists/t\.jsonl: no such object",
    ),
    kept(
        "a bucket with other objects",
        r"s3://there/run: must be empty or a run .*, got 'photo\.png' and no RUN\.json",
    ),
    case("no run in a bucket", "status s3://there/run", r"s3://there/run: no run here: .* missing"),
]
UNREACHED = [
    kept(
        "a server that does not answer",
        PLACE + r" no answer \(EndpointConnectionError\); check AWS_.*",
        code=3,
        AWS_ENDPOINT_URL_S3="http://127.0.0.1:9",
    ),
    kept(
        "an endpoint that is none",
        PLACE + r" cannot be sent \(ValueError\); check AWS_ENDPOINT_URL.*",
        AWS_ENDPOINT_URL_S3="nonsense",
    ),
    kept(
        "a password in the endpoint",
        r"AWS_ENDPOINT_URL: expected no user or password in it, got one \(not shown\); .*",
        AWS_ENDPOINT_URL_S3="http://me:hidden@127.0.0.1:9",
    ),
    kept(
        "no keys",
        r"s3://there/run.*: no keys for S3 were found; check AWS_ACCESS_KEY_ID .*",
        AWS_ACCESS_KEY_ID="",
        AWS_SECRET_ACCESS_KEY="",
    ),
    kept(
        "a key with a line end",
        r"AWS_SECRET_ACCESS_KEY: expected no blanks or line ends in it, got some",
        AWS_SECRET_ACCESS_KEY="hidden\n",
    ),
    kept(
        "an unknown profile",
        PLACE + r"no keys .*ProfileNotFound.*; check AWS_PROFILE",
        AWS_PROFILE="x",
    ),
]
NO_TOKEN = r"ListObjectsV2 cut the listing and gave no token; this server cannot be used"


def without_tokens(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """The server behind, but for the tokens by which its listings would be gone on with."""
    cut_listings(os.environ["AWS_ENDPOINT_URL"])(handler, body)


def nothing_else() -> None:
    open_store("s3://there/run").delete("photo.png")


def some_objects(place: str) -> Step:
    """More than such a listing shows."""

    def step() -> None:
        store = open_store(f"s3://there/{place}")
        for number in range(5):
            store.put(f"part-{number}.parquet", parquet(**ROW))

    return step


CUT = [
    case(
        "a listing that is cut, where a run should be",
        S3_OUT,
        rf"s3://there/run: {NO_TOKEN}",
        models,
        nothing_else,
        act=without_tokens,
    ),
    *(
        case(
            f"a listing of {what} that is cut, for `{command.split()[0]}`",
            command,
            rf"s3://there/{place}: {NO_TOKEN}",
            configured,
            some_objects(place),
            act=without_tokens,
        )
        for what, place, command in (
            ("a dataset", "pairs", f"{FIT} --config f.yaml --dataset s3://there/pairs"),
            ("a dataset", "pairs", f"{ENCODE} --config f.yaml --dataset s3://there/pairs"),
            ("pictures", "in", f"{EDIT} --images s3://there/in --instruction 'make it red'"),
        )
    ),
]
KEYS = r"check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
ANSWERED = [
    answered("keys that are refused", 403, "", rf"{KEYS}, and that they may s3:GetObject .*"),
    answered("an unknown key id", 403, "InvalidAccessKeyId", KEYS, LIST),
    answered("a wrong secret key", 403, "SignatureDoesNotMatch", KEYS, LIST),
    answered(
        "a clock that is wrong",
        403,
        "RequestTimeTooSkewed",
        r"this machine's clock is wrong; .*",
        LIST,
    ),
    answered("another region", 400, "AuthorizationHeaderMalformed", r"set AWS_REGION to .*", LIST),
    answered("expired keys", 400, "ExpiredToken", r"the session's keys have expired; .*", LIST),
    answered("no right to read", 403, "AccessDenied", r"these keys need s3:PutObject, .*", LIST),
    answered(
        "no right to list pictures, for `edit`",
        403,
        "AccessDenied",
        r"these keys need s3:PutObject, .*",
        f"{EDIT} --images s3://there/in --instruction 'make it red'",
    ),
    answered(
        "an archived list",
        403,
        "InvalidObjectState",
        r"the object is archived; restore it .*",
        LIST,
    ),
    case(
        "a web page in place of a bucket",
        S3_OUT,
        PLACE + r"answer .*not S3's; check AWS_ENDPOINT_URL",
        models,
        code=3,
        act=page,
    ),
]
MODELS = [
    generated(id, f"--set recipe.{setting}", message)
    for id, setting, message in [
        (
            "a prefix without a model",
            "clip.source=s3://there/run",
            r"s3://there/run: must be a model's folder with \.safetensors files, or .*, got photo\.png",
        ),
        (
            "a prefix with nothing",
            "text_to_image.source=s3://there/sd.ckpt",
            r"s3://there/sd\.ckpt: must be a model's folder with .*, got no objects",
        ),
        (
            "a model's file that is not in its bucket",
            "autoencoder.source=s3://there/vae.safetensors",
            r"s3://there/vae\.safetensors: no such object",
        ),
    ]
]
S3 = REACHED + UNREACHED + CUT + ANSWERED + MODELS


@contextmanager
def emulator() -> Iterator[S3Access]:
    server = new_emulator()
    server.start()
    host, port = server.get_host_and_port()
    yield S3Access(f"http://{host}:{port}", "key-of-nobody", "secret-of-nobody")
    server.stop()


def refused_by_s3(case: Case, access: S3Access, monkeypatch: pytest.MonkeyPatch) -> str:
    """As `refused`, beside a bucket `there` that holds a photo."""
    access.export(monkeypatch)
    client = boto3.session.Session().client("s3", region_name="us-east-1")
    client.create_bucket(Bucket="there")
    client.put_object(Bucket="there", Key="run/photo.png", Body=b"picture")
    # Waits between the attempts would only take time.
    monkeypatch.setattr("time.sleep", lambda _: None)
    # Enough to be told apart from one page.
    monkeypatch.setattr("factory.storage.probe.ROUNDS", 2)
    for name, value in case.environment.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as stack:
        if case.act:
            endpoint = stack.enter_context(crooked_server(case.act))
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        return refused(case, lambda: objects(client))


def objects(client: Any) -> dict[str, object]:
    listed = client.list_objects_v2(Bucket="there").get("Contents", [])
    return {entry["Key"]: entry["ETag"] for entry in listed}
