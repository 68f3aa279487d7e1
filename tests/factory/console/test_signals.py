"""Programs of a few lines, and what a signal makes of each."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BEGIN = """
import atexit, ctypes, os, signal, sys, threading, time
from factory.console.signals import *
from factory.console.signals import Drain
answer_signals()
def tell(word):
    os.write(1, (word + "\\n").encode())
"""
LINE = "editmill: interrupted; run the same command again\n"
DRAINING = "stopping after what is in hand; once more ends it at once\n"


def run(code, *signals):
    """The exit code, what was told after the first word, and stderr; a signal follows each word."""
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        told = []
        for name in signals:
            told.append(process.stdout.readline())
            process.send_signal(name)
        out, err = process.communicate(timeout=60)
    assert all(told), err
    return process.returncode, "".join(told[1:]) + out, err


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_program_with_3_and_one_line(name):
    assert run("tell('up'); time.sleep(60)", name) == (3, "", LINE)


def test_a_library_that_does_not_return_is_not_waited_for():
    # The second one waits for ever, whatever handlers are called meanwhile.
    lock = "libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)\n"
    lock += "libc.pthread_mutex_lock(mutex)\ntell('up')\nlibc.pthread_mutex_lock(mutex)"
    assert run(lock, signal.SIGTERM) == (3, "", LINE)


IN_HAND = """
with Drain() as drain:
    assert not drain.asked
    tell('in hand')
    while not drain.asked:
        time.sleep(0.01)
    tell('asked')
    {}
sys.exit(3)
"""


def test_the_first_signal_of_a_drain_is_a_request_and_said():
    assert run(IN_HAND.format(""), signal.SIGTERM) == (3, "asked\n", DRAINING)


def test_the_second_is_the_last_word():
    code = IN_HAND.format("time.sleep(60)")
    found = run(code, signal.SIGINT, signal.SIGTERM)
    assert found == (3, "asked\n", DRAINING + LINE)


def test_a_drain_that_nobody_has_looked_at_has_nothing_in_hand():
    code = "with Drain() as drain:\n    tell('loading')\n    time.sleep(60)"
    assert run(code, signal.SIGTERM) == (3, "", LINE)


def test_signals_that_a_library_took_are_taken_back():
    code = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntake_back()\ntell('up')\ntime.sleep(60)"
    assert run(code, signal.SIGTERM) == (3, "", LINE)


def test_signals_that_are_left_to_others_are_theirs_until_then():
    code = """
with left_to_others():
    heard = []
    signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    tell('theirs')
    while not heard:
        time.sleep(0.01)
tell('ours')
time.sleep(60)
"""
    assert run(code, signal.SIGTERM, signal.SIGTERM) == (3, "ours\n", LINE)


@pytest.mark.parametrize(
    "end",
    [
        "settle(4)\ntell('up')\ntime.sleep(60)",
        "atexit.register(lambda: [tell('up'), time.sleep(60)])\nsettle(4)\nsys.exit(4)",
        # Later than all handlers.
        "class Late:\n    def __del__(self, tell=tell, sleep=time.sleep):\n        tell('up'); sleep(0.3)\n"
        "late = Late()\nsettle(4)\nsys.exit(4)",
    ],
    ids=["when it is known", "at exit", "while the interpreter ends"],
)
def test_an_exit_code_that_is_known_stays_and_nothing_is_said(end):
    assert run(end, signal.SIGTERM) == (4, "", "")


def test_a_forked_child_is_another_process():
    code = """
child = os.fork()
if not child:
    tell('child')
    time.sleep(60)
while True:
    time.sleep(0.01)
    os.kill(child, signal.SIGTERM)
    if os.waitpid(child, os.WNOHANG)[0]:
        break
tell('parent')
time.sleep(60)
"""
    assert run(code, signal.SIGCONT, signal.SIGTERM) == (3, "parent\n", LINE)


def test_what_is_to_be_done_before_the_end_is_done_last_first_whatever_becomes_of_it():
    code = "at_end(lambda: tell('a'))\nat_end(lambda: 1 / 0)\nat_end(lambda: tell('c'))\n"
    assert run(code + "tell('up')\ntime.sleep(60)", signal.SIGTERM) == (3, "c\na\n", LINE)


def test_a_signal_waits_for_lines_that_belong_together():
    code = """
with unbroken():
    tell('up')
    time.sleep(0.5)
    at_end(lambda: tell('removed'))
time.sleep(60)
"""
    assert run(code, signal.SIGTERM) == (3, "removed\n", LINE)


def test_once_it_ends_nobody_else_makes_files_or_begins_processes(tmp_path):
    code = f"""
import pathlib, subprocess, sys
gone = threading.Event()
at_end(lambda: [gone.set(), time.sleep(0.5)])
for place, make in {{
    'folder': pathlib.Path.mkdir, 'file': pathlib.Path.touch,
    'child': lambda path: subprocess.run([sys.executable, '-c', 'open(' + repr(str(path)) + ', "w")']),
}}.items():
    path = pathlib.Path({str(tmp_path)!r}) / place
    threading.Thread(target=lambda make=make, path=path: [gone.wait(), make(path)], daemon=True).start()
tell('up')
time.sleep(60)
"""
    assert run(code, signal.SIGTERM) == (3, "", LINE)
    assert list(tmp_path.iterdir()) == []


def test_who_sees_something_end_that_a_signal_ended_says_nothing():
    code = """
def end():
    seen = threading.Thread(target=give_up, args=('ray: it has gone',))
    seen.start()
    seen.join()
at_end(end)
tell('up')
time.sleep(60)
"""
    assert run(code, signal.SIGTERM) == (3, "", LINE)


SLOW_END = "at_end(lambda: [gone.set(), time.sleep(0.5)])\n"


def test_another_exit_code_does_not_come_before_the_end_that_a_signal_makes():
    """As by the handler that Ray sets while it starts, and by what fails because its processes go."""
    code = "gone = threading.Event()\n" + SLOW_END
    theirs = "signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))\n"
    assert run(code + theirs + "tell('up')\ntime.sleep(60)", signal.SIGTERM) == (3, "", LINE)


@pytest.mark.parametrize("error", ["ConfigError('ray: has gone')", "OSError('ray: has gone')"])
def test_what_fails_by_the_end_that_a_signal_makes_is_not_told(error):
    code = f"""
from factory.console.command import command
from factory.errors import ConfigError
gone = threading.Event()
{SLOW_END}
@command
def verb() -> int:
    tell('up')
    gone.wait()
    raise {error}
verb()
"""
    assert run(code, signal.SIGTERM) == (3, "", LINE)


def test_any_thread_may_give_up_in_words():
    code = "threading.Thread(target=give_up, args=('ray: it has gone',)).start()\ntime.sleep(60)"
    assert run(code) == (3, "", "editmill: ray: it has gone\n")


def test_without_a_program_around_it_a_drain_restores_what_was_there():
    code = """
import os, signal
from factory.console.signals import Drain
before = [signal.getsignal(number) for number in (2, 15)]
with Drain() as drain:
    os.kill(os.getpid(), 15)
    assert drain.asked
    try:
        os.kill(os.getpid(), 2)
    except KeyboardInterrupt:
        print('last')
assert before == [signal.getsignal(number) for number in (2, 15)]
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "last\n"
