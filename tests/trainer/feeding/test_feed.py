"""The micro-batches of coming steps: what is made while a step runs, and what is not."""

import threading
import time
from concurrent.futures import CancelledError
from contextlib import closing, suppress

import pytest
import torch

from factory.engine.text.encoder import Words
from factory.errors import InputError
from schemas.training.fit import Where
from tests.trainer.small import small
from trainer.feeding.feed import AHEAD, Feed
from trainer.feeding.reader import Reader, assemble
from trainer.learning.group import Group, Workplace
from trainer.learning.order import Order

CPU = torch.device("cpu")
BATCH = 4
LOADERS = 2
ROWS = 5 * BATCH


class Watched(Reader):
    """Rows of made-up latents, and who asked for them."""

    def __init__(self, asks_networks):
        super().__init__("here", range(ROWS))
        self.asks_networks = asks_networks
        self.latents = torch.randn(ROWS, 3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
        self.words = Words(torch.ones(3, 5))
        self.read_rows = 0
        self.encoded = threading.Semaphore(0)
        self.threads = []
        self.damaged = None

    def _content(self, row, flip):
        self.read_rows += 1
        return (16, 16), self.latents[row]

    def encode(self, seen):
        self.threads.append(threading.current_thread())
        self.encoded.release()
        if self.damaged in [one.row for one in seen]:
            raise InputError("damaged")
        latents = torch.stack([one.content for one in seen])
        return latents[:, 0], latents[:, 1], latents[:, 2], [self.words] * len(seen)

    def nothing(self):
        return self.words

    def close(self): ...


def feed(reader, until=5, micro_batch=3, first=0):
    law = small(False, law={"batch": BATCH, "dtype": "float64"}).law
    order = Order(law.seed, [f"{i:016x}" for i in range(ROWS)], [[i] for i in range(ROWS)], BATCH)
    found = Feed(
        order,
        reader,
        Workplace(law, Where(micro_batch=micro_batch, loaders=LOADERS), CPU, Group()),
        first,
        until,
    )
    return closing(found)


@pytest.mark.parametrize("asks_networks", [False, True])
def test_every_step_is_what_its_items_say(asks_networks):
    reader = Watched(asks_networks)
    rows = []
    with feed(reader) as found:
        for _ in range(5):
            parts = found.step()
            assert [len(part.items) for part in parts] == [3, 1]
            for part in parts:
                made, expected = part.batch(), assemble(reader, part.items, CPU, torch.float64)
                for name, tensor in vars(expected).items():
                    if tensor is not None:
                        torch.testing.assert_close(getattr(made, name), tensor, rtol=0, atol=0)
                rows += [one.row for one in part.items]
        assert found.step() == []
    assert sorted(rows) == list(range(ROWS))


def test_what_needs_no_network_is_made_while_the_step_before_runs():
    reader = Watched(asks_networks=False)
    with feed(reader, micro_batch=4) as found:
        found.step()
        # Nothing was asked of the second.
        for _ in range(2):
            assert reader.encoded.acquire(timeout=60)
        done = len(reader.threads)
        found.step()[0].batch()
    assert threading.main_thread() not in reader.threads
    assert done == 2


def test_networks_are_asked_when_the_step_needs_them_and_by_it():
    reader = Watched(asks_networks=True)
    with feed(reader) as found:
        parts = found.step()
        assert reader.threads == []
        parts[0].batch()
        found.step()
    assert reader.threads == [threading.main_thread()]


@pytest.mark.parametrize("asks_networks", [False, True])
def test_no_more_is_read_than_the_coming_steps(asks_networks):
    reader = Watched(asks_networks)
    with feed(reader) as found:
        found.step()
        assert reader.read_rows <= (1 + AHEAD) * BATCH
    with feed(reader := Watched(asks_networks), until=5, first=4) as found:
        assert len(found.step()) == 2
    assert reader.read_rows == BATCH


@pytest.mark.parametrize("asks_networks", [False, True])
def test_to_be_closed_it_waits_for_no_read_that_has_not_begun(asks_networks):
    reader, go_on = Watched(asks_networks), threading.Event()

    def slow(row, flip):
        reader.read_rows += 1
        assert go_on.wait(60)
        return (16, 16), reader.latents[row]

    def step():
        with suppress(CancelledError):
            found.step()

    reader._content = slow
    with feed(reader) as found:
        waiting = threading.Thread(target=step)
        waiting.start()
        while reader.read_rows < LOADERS:
            time.sleep(0.01)
        threading.Timer(0.5, go_on.set).start()
    assert reader.read_rows == LOADERS
    waiting.join(timeout=60)
    assert not waiting.is_alive()


def test_what_cannot_be_made_ends_the_step_that_needs_it():
    reader = Watched(asks_networks=False)
    with feed(reader) as found:
        first = {one.row for part in found.step() for one in part.items}
    reader = Watched(asks_networks=False)
    reader.damaged = min(set(range(ROWS)) - first)
    with feed(reader) as found:
        assert found.step()
        with pytest.raises(InputError, match="^damaged$"):
            all(found.step() for _ in range(4))
