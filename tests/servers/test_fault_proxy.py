"""The fault proxy does to a request what its name says, and else nothing at all."""

import socket
from urllib.parse import urlsplit

import pytest

from factory.errors import StorageUnavailable
from factory.storage.open import open_store
from factory.storage.probe import probe
from tests.servers.fault_proxy import ANY, POSSIBLE, Fault, FaultProxy, even_odds, favouring

KEY = "commits/000000/00000001.parquet"
STORED = {Fault.REPLY_DROPPED, Fault.ERROR_AFTER}


@pytest.fixture
def places(moto, moto_bucket, monkeypatch):
    """A store through a proxy, the same store without it, and the proxy, which spoils nothing yet."""
    monkeypatch.setattr("factory.storage.s3.store.READ_ATTEMPTS", 1)
    direct = open_store(moto_bucket)
    assert list(direct.list()) == []
    with FaultProxy(moto.endpoint, {}, lateness=(0.2, 0.3)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        # One try, so that a fault is not mended by the client.
        monkeypatch.setattr(
            "factory.storage.s3.client.SETTINGS",
            {
                "connect_timeout": 5,
                "read_timeout": 20,
                "retries": {"mode": "standard", "total_max_attempts": 1},
                "request_checksum_calculation": "when_required",
            },
        )
        yield open_store(direct.uri), direct, proxy


def test_proxy_without_faults_keeps_every_promise_of_the_store(places):
    store, direct, proxy = places
    assert probe(store).commits == "conditional"
    data = bytes(range(256)) * 12_000
    store.put("pairs/a", data)
    assert direct.get("pairs/a") == data == store.get("pairs/a")
    assert store.put_new("pairs/a", b"other") is False
    assert store.find("pairs/none") is None
    assert [info.key for info in store.list("pairs/")] == ["pairs/a"]
    assert sum(proxy.counts[fault] for fault in Fault) == 0


@pytest.mark.parametrize("fault", [f for f in Fault if f not in (Fault.REPLY_CUT, Fault.DELAYED)])
def test_spoilt_write_is_unclear_to_the_client_and_what_the_name_says_to_the_server(places, fault):
    store, direct, proxy = places
    proxy.odds = {fault: {"put_new": 1.0}}
    with pytest.raises(StorageUnavailable):
        store.put_new(KEY, b"x" * 1000)
    assert (direct.find(KEY) is not None) == (fault in STORED)
    proxy.settle()
    assert (direct.find(KEY) is not None) == (fault in STORED or fault is Fault.LATE)
    if direct.find(KEY):
        assert direct.get(KEY) == b"x" * 1000
    assert proxy.counts == {"put_new": 1, fault: 1}


@pytest.mark.long
def test_cut_reply_is_noticed_and_a_delayed_one_is_whole(places):
    store, direct, proxy = places
    direct.put("pairs/a", b"y" * 5000)
    proxy.odds = {Fault.REPLY_CUT: {"get": 1.0, "list": 1.0}}
    with pytest.raises(StorageUnavailable):
        store.get("pairs/a")
    with pytest.raises(StorageUnavailable):
        list(store.list())
    proxy.odds = {Fault.DELAYED: dict.fromkeys(ANY, 1.0)}
    assert store.get("pairs/a") == b"y" * 5000
    assert proxy.counts[Fault.DELAYED] == 1


def test_zombies_conditional_write_loses_against_what_came_before_it(places):
    store, direct, proxy = places
    proxy.odds = {Fault.LATE: {"put_new": 1.0}}
    with pytest.raises(StorageUnavailable):
        store.put_new(KEY, b"late")
    assert direct.put_new(KEY, b"in time")
    proxy.settle()
    assert direct.get(KEY) == b"in time"
    assert proxy.refused_late == 1


def test_same_seed_spoils_the_same_requests(moto):
    def drawn(seed):
        proxy = FaultProxy(moto.endpoint, even_odds(0.05), seed)
        return [proxy._draw("put_new") for _ in range(300)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert set(drawn(1)) >= {f for f in Fault if "put_new" in POSSIBLE.get(f, ANY)}


def test_one_fault_can_be_favoured_where_it_can_strike(places):
    store, _, proxy = places
    proxy.odds = favouring(even_odds(0.0), Fault.REPLY_CUT, 1.0)
    assert store.put_new(KEY, b"whole")
    with pytest.raises(StorageUnavailable):
        store.get(KEY)
    assert proxy.counts[Fault.REPLY_CUT] == 1


def test_chunks_and_their_trailers_pass_unchanged():
    got = []
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        FaultProxy(f"http://127.0.0.1:{server.getsockname()[1]}", {}) as proxy,
    ):
        where = urlsplit(proxy.endpoint)
        body = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32: AAAAAA==\r\n\r\n"
        with socket.create_connection((where.hostname, where.port), timeout=20) as client:
            client.sendall(
                b"PUT /bucket/key HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
                b"Expect: 100-continue\r\n\r\n"
            )
            assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.sendall(body)
            upstream, _ = server.accept()
            with upstream:
                upstream.settimeout(20)
                while not b"".join(got).endswith(b"==\r\n\r\n"):
                    got.append(upstream.recv(1000))
                upstream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            assert client.recv(1000) == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    head, _, rest = b"".join(got).partition(b"\r\n\r\n")
    assert rest == body
    assert b"Expect" not in head
