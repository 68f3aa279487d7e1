"""How a language model's server is borne with: what it says of waiting, and what no waiting mends."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate

import pytest

from factory.captions.asked import Asked
from factory.captions.server import FIRST_PAUSE_S, LanguageServer
from factory.errors import ServerRefused
from schemas.captions import Server
from tests.factory.captions.language_server import Says, green, language_server
from tests.factory.captions.test_captions import listed, start

__all__ = ["listed"]
MESSAGE = {"role": "user", "content": '{"id": "a", "caption": "a red door"}'}
QUESTION = Asked("chat", {"model": "m", "messages": [MESSAGE]})


def pauses(*said):
    """Seconds that are waited where a server says these things before it answers."""
    left, slept = list(said), []
    with language_server(lambda path, body: left.pop(0) if left else green(path, body)) as model:
        server = LanguageServer(Server(base_url=model.url), sleep=slept.append, now=lambda: 0.0)
        server.ask(QUESTION)
        server.close()
    return slept


def test_a_date_says_when_to_come_back():
    (pause,) = pauses(Says(429, {"retry-after": formatdate(time.time() + 40, usegmt=True)}))
    assert 20 < pause <= 40


def test_a_date_that_has_passed_is_not_waited_for():
    assert pauses(Says(503, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"})) == [0.0]


@pytest.mark.parametrize("header", ["soon", "nan", "Wed, 99 Oct 2015", ""])
def test_what_is_no_time_leaves_growing_pauses(header):
    first, second = pauses(*[Says(429, {"retry-after": header})] * 2)
    assert 0.5 * FIRST_PAUSE_S <= first < FIRST_PAUSE_S <= second < 2 * FIRST_PAUSE_S * 1.5


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            Says(404, {}, b'{"error": {"message": "the model `m` does not exist"}}'),
            "must know this model and path, got status 404: .*does not exist",
        ),
        (
            Says(429, {}, b'{"error": {"message": "top up", "code": "insufficient_quota"}}'),
            "no money is left there: .*top up",
        ),
        (
            Says(429, {}, b'{"error": {"message": "top up", "type": "insufficient_quota"}}'),
            "no money is left there: .*top up",
        ),
    ],
)
def test_what_no_waiting_mends_is_told_at_once(said, words):
    with language_server(lambda path, body: said) as model:
        server = LanguageServer(Server(base_url=model.url), sleep=lambda seconds: None)
        with pytest.raises(ServerRefused, match=words):
            server.ask(QUESTION)
        server.close()
    assert len(model.asked) == 1


def test_a_run_whose_money_ends_at_the_server_keeps_what_it_paid_for(listed, tmp_path):
    broke = Says(429, {}, b'{"error": {"message": "top up", "code": "insufficient_quota"}}')
    given = []

    def spends(path, body):
        given.append(body)
        return green(path, body) if len(given) <= 3 else broke

    out = tmp_path / "run"
    in_turn = ("--set", "compute.server.in_flight=1")
    with language_server(spends) as model:
        done = start(listed, out, model.url, *in_turn)
    assert done.exit_code == 3
    assert "no money is left there" in done.output
    with language_server(green) as model:
        assert start(listed, out, model.url).exit_code == 0
    assert not {str(body) for body in model.asked} & {str(body) for body in given[:3]}


def test_threads_that_ask_at_once_have_connections_of_their_own():
    asking = threading.Barrier(3)

    def answer(path, body):
        asking.wait(timeout=30)
        return green(path, body)

    with language_server(answer) as model, ThreadPoolExecutor(3) as threads:
        server = LanguageServer(Server(base_url=model.url))
        clients = list(threads.map(lambda _: (server.ask(QUESTION), server._client)[1], range(3)))
        assert len({id(client) for client in clients}) == 3
        server.close()
    assert all(client.is_closed() for client in clients)
