import re

from factory import progress as module
from factory.progress import Progress


def test_without_a_terminal_progress_is_plain_lines_on_stderr(capsys):
    with Progress("units", 4, done=2) as progress:
        progress.advance(pairs=3)
        progress.say("unit 3: no answer")
        progress.advance(pairs=5)
    out, err = capsys.readouterr()
    assert out == ""
    assert "resuming: 2 of 4 units are committed" in err
    assert "unit 3: no answer" in err
    assert "4/4 units, 5 pairs" in err
    assert "\x1b" not in err


def test_the_time_left_does_not_count_what_the_first_waited_for(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "LINE_EVERY_S", 0.0)
    with Progress("units", 10) as progress:
        # Five minutes of fetching and loading, and then a unit every ten seconds.
        for now[0] in (310.0, 320.0, 330.0):
            progress.advance()
    lines = capsys.readouterr().err.splitlines()
    assert [re.findall(r"([\d.]+) a minute, (.+) left", line) for line in lines] == [
        [],
        [],
        [("6.0", "1 min 10 s")],
    ]
