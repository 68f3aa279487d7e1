import pickle
import re

import pytest
from rich.console import Console

from factory.console import progress as of
from factory.console.progress import Progress, Reached, duration, shown_bar
from factory.console.say import say


class Clock:
    """Time that passes when it is told to."""

    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(of, "time", found)
    monkeypatch.setattr(of, "LINE_EVERY_S", 0.0)
    return found


@pytest.fixture
def terminal(monkeypatch, capsys):
    """What a terminal would show, without what moves its cursor."""
    monkeypatch.setattr(
        of, "Console", lambda stderr: Console(stderr=stderr, force_terminal=True, width=100)
    )

    def shown():
        return re.sub(r"\x1b\[[0-9;?]*\w", "", capsys.readouterr().err)

    return shown


def test_without_a_terminal_progress_is_plain_lines_on_stderr(capsys):
    with Progress("units", 4, done=2) as progress:
        progress.advance(pairs=3)
        progress.say("unit 3: no answer")
        progress.advance(pairs=5)
    out, err = capsys.readouterr()
    assert out == ""
    assert "resuming: 2 of 4 units are committed" in err
    assert "unit 3: no answer" in err
    assert "4/4 units, 5 pairs in this start" in err
    assert "\x1b" not in err


def test_nothing_is_said_of_time_before_enough_is_known_and_loading_does_not_count(clock, capsys):
    with Progress("units", 100) as progress:
        # An hour until the first one, whose models were loaded meanwhile.
        for now in (3600, 3660, 3720):
            clock.now = now
            progress.advance(pairs=2)
    one, two, three = capsys.readouterr().err.splitlines()
    assert (one, two) == ("1/100 units, 2 pairs", "2/100 units, 2 pairs")
    assert three == "3/100 units, 2 pairs, 1.0 a minute, 1 h 37 min left"


def test_units_that_end_together_count_together(clock, capsys):
    """Four workers, a minute each: four a minute, whatever lies between two of them."""
    with Progress("units", 100) as progress:
        for minute in range(1, 6):
            for worker in range(4):
                clock.now = 60 * minute + worker / 1000
                progress.advance()
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("20/100 units, 4.7 a minute, 16 min")


def test_those_of_one_batch_that_come_at_once_give_no_rate(clock, capsys):
    with Progress("edits", 40) as progress:
        for batch in range(2):
            clock.now = 60 * batch
            for number in range(16):
                clock.now += number / 1e6
                progress.advance(pairs=1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[15] == "16/40 edits, 1 pair"
    assert lines[16].startswith("17/40 edits, 1 pair, 16.0 a minute, ")


def test_a_bar_shows_the_same_and_lines_stand_above_it(clock, terminal):
    with Progress("steps", 10) as progress:
        assert shown_bar() is progress
        say("dataset: d")
        say(Reached.of("step 7/10  loss 0.5", 7, "loss 0.5"))
    shown = terminal()
    assert "dataset: d\n" in shown
    assert "7/10 loss 0.5" in shown
    assert "step 7/10" not in shown
    assert shown_bar() is None


def test_without_a_bar_a_line_that_says_how_far_it_is_is_a_line(capsys):
    with Progress("steps", 10):
        say(Reached.of("step 7/10  loss 0.5", 7, "loss 0.5"))
    assert capsys.readouterr().err == "step 7/10  loss 0.5\n"


def test_such_a_line_comes_whole_from_another_process():
    came = pickle.loads(pickle.dumps(Reached.of("step 7/10", 7, "loss [/b]")))
    assert (came, came.done, came.beside) == ("step 7/10", 7, "loss [/b]")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (200_000, "55 h 33 min")],
)
def test_a_duration_has_its_two_largest_units(seconds, words):
    assert duration(seconds) == words
