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
