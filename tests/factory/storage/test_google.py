"""Google Cloud Storage by its S3 endpoint, as Google's pages describe it; the real one was never asked.

They say of If-None-Match that it applies to requests that retrieve data; a write's own condition is
x-goog-if-generation-match, which no client of S3 sends.
"""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from factory.errors import StorageRefused
from factory.storage.probe import probe
from factory.storage.s3.store import S3Store
from tests.factory.storage.crooked import Act, answer, crooked_server, forward
from tests.servers.fixtures import S3Access


def passing_over_the_condition(endpoint: str) -> Act:
    """The server behind, which hears of no condition on a write."""

    def act(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        if handler.command == "PUT":
            del handler.headers["If-None-Match"]
        forward(endpoint)(handler, body)

    return act


def refusing_the_condition(endpoint: str) -> Act:
    def act(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        conditional = handler.command == "PUT" and "If-None-Match" in handler.headers
        (answer(501, "NotImplemented") if conditional else forward(endpoint))(handler, body)

    return act


@pytest.fixture
def google(
    request: pytest.FixtureRequest,
    moto: S3Access,
    moto_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[S3Store]:
    with crooked_server(request.param(moto.endpoint)) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("AWS_REGION", "auto")
        yield S3Store(f"{moto_bucket}/runs/first")


@pytest.mark.parametrize("google", [forward], indirect=True)
def test_where_it_heeds_the_condition_a_run_is_begun_as_on_amazons(google: S3Store) -> None:
    assert probe(google).commits == "conditional"


@pytest.mark.parametrize("google", [passing_over_the_condition], indirect=True)
def test_where_it_passes_over_the_condition_a_run_is_begun_with_sealed_commits(
    google: S3Store,
) -> None:
    found = probe(google)
    assert (found.commits, found.reason) == ("weak", "a second conditional write was accepted")


@pytest.mark.parametrize("google", [refusing_the_condition], indirect=True)
def test_where_it_refuses_the_condition_nothing_is_begun(google: S3Store) -> None:
    with pytest.raises(
        StorageRefused, match=r"answered 501 NotImplemented; this server cannot do it"
    ):
        probe(google)
