"""SIGTERM and SIGINT, from a program's first line to its last: exit code 3, in one line.

A program calls `answer_signals` before it imports what takes a second. From then on a thread hears of
signals by a pipe: Python's own handlers wait for the main thread, which may be in a library's code for
long (a name that is not resolved, a cluster that does not answer). Where nothing is to be drained the
thread ends the process on the spot; what is stored is safe against that at any byte. Nothing is ever
raised from a handler: it could strike in the middle of any library's work.
"""

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGINT)
INCOMPLETE = 3
"""The exit code of what a rerun would resume."""
INTERRUPTED = "interrupted; run the same command to resume"
AGAIN = "interrupted; run the same command again"
"""Of a command that does not go on, or is not known yet."""
DRAINING = "stopping after what is in hand; once more ends it at once"
CLEAR_LINE = "\r\x1b[2K\x1b[?25h"
"""On a terminal: what a bar has left there, and its hidden cursor."""


_MARK = bytes([255])
"""No signal's number."""


class Drain:
    """Inside, SIGTERM and SIGINT only set `asked`; a second one is the operator's last word.

    In a program a first one is, too, until somebody has looked at `asked`: nothing is in hand then.
    """

    def __init__(self) -> None:
        self._asked = False
        self._looked = False
        self._before: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether to stop after what is in hand."""
        self._looked = True
        return self._asked

    def __enter__(self) -> "Drain":
        if not _program.begin(self) and threading.current_thread() is threading.main_thread():
            for name in SIGNALS:
                self._before[name] = signal.signal(name, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        _program.end_of(self)
        for name, handler in self._before.items():
            with suppress(TypeError):  # a handler that was not set from Python
                signal.signal(name, handler)

    def ask(self) -> bool:
        """Whether there is something to wait for; not at the second time."""
        waits = self._looked and not self._asked
        self._asked = True
        return waits

    def _ask(self, number: int, frame: FrameType | None) -> None:
        """Without a program around it: in a notebook, a test."""
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True


class _Program:
    """This process, as far as signals go."""

    def __init__(self) -> None:
        self.answers = False
        self.words = AGAIN
        self._drains: list[Drain] = []
        self._acts: list[Callable[[], object]] = []
        self._code: int | None = None
        self._ending = False
        self._others = 0
        self._errors = 2
        self._formed: Callable[[str], str] = str
        self._write_end = -1
        self._passed = threading.Event()
        self._unbroken = threading.RLock()

    def answer(self) -> None:
        """From now on, or again after a library took the signals for itself."""
        if not self.answers:
            self.answers = True
            # Of our own, so that what points stderr elsewhere does not take this line along.
            self._errors = os.dup(2)
            read_end, write_end = os.pipe()
            os.set_blocking(write_end, False)
            self._write_end = write_end
            signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
            threading.Thread(target=self._listen, args=(read_end,), daemon=True).start()
            # What is registered first is done last: the interpreter's own end takes a while, and by then it
            # has given up its handlers.
            atexit.register(_set, signal.SIG_IGN)
            atexit.register(self.wait_if_ending)
            os.register_at_fork(after_in_child=self._forget)
        _set(_heard)

    def begin(self, drain: Drain) -> bool:
        """Whether this drain is asked from now on."""
        if self.answers:
            self._drains.append(drain)
            self.take_back()
        return self.answers

    def end_of(self, drain: Drain) -> None:
        if drain in self._drains:
            self._drains.remove(drain)

    def take_back(self) -> None:
        if self.answers and threading.current_thread() is threading.main_thread():
            _set(_heard)

    @contextmanager
    def left_to_others(self) -> Iterator[None]:
        self._others += 1
        try:
            yield
        finally:
            self._pass()
            self._others -= 1
            self.take_back()

    def _pass(self) -> None:
        """Wait until the thread has heard of every signal so far: those were others'."""
        if self.answers:
            self._passed.clear()
            with suppress(OSError):
                os.write(self._write_end, _MARK)
                self._passed.wait(1.0)

    def at_end(self, act: Callable[[], object]) -> None:
        self._acts.append(act)

    @contextmanager
    def unbroken(self) -> Iterator[None]:
        with self._unbroken:
            yield

    def settle(self, code: int) -> None:
        if self.answers:
            with suppress(OSError, ValueError):
                sys.stdout.flush()
            self._code = code

    def give_up(self, words: str) -> None:
        if self.answers and self._code is None:
            self._end(INCOMPLETE, f"editmill: {words}")

    def wait_if_ending(self) -> None:
        if threading.current_thread() is threading.main_thread():
            # One may have come and not been heard yet.
            self._pass()
            while self._ending:
                time.sleep(1)

    def _listen(self, read_end: int) -> None:
        while True:
            for number in os.read(read_end, 16):
                if number == _MARK[0]:
                    self._passed.set()
                elif number in SIGNALS and not self._others:
                    self._hear()

    def _hear(self) -> None:
        if self._code is None and self._drains and self._drains[-1].ask():
            self._say(DRAINING)
            return
        if self._code is None:
            self._end(INCOMPLETE, f"editmill: {self.words}")
        else:
            self._end(self._code)

    def _end(self, code: int, words: str | None = None) -> NoReturn:
        # First: what ends now may look to others as if it had gone by itself, and these are the last words.
        self._code = code
        self._ending = True
        if words is not None:
            self._say(words)
        # Kept to the end: who comes to such lines from now on does not begin them.
        self._unbroken.acquire()
        halt_others()
        for act in reversed(self._acts):
            with suppress(Exception):
                act()
        os._exit(code)

    def say_as(self, formed: Callable[[str], str]) -> None:
        self._formed = formed

    def _say(self, line: str) -> None:
        before = CLEAR_LINE if os.isatty(self._errors) else ""
        with suppress(Exception):
            line = self._formed(line)
        with suppress(OSError):
            os.write(self._errors, f"{before}{line}\n".encode())

    def _forget(self) -> None:
        """A child is another process, and must not write into this one's pipe."""
        self.answers = self._ending = False
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)


_program = _Program()

answer_signals = _program.answer
"""Make this process a program that ends with 3, in words, on SIGTERM and SIGINT; in the main thread."""
take_back = _program.take_back
"""Again, after a library took the signals for itself."""
left_to_others = _program.left_to_others
"""Inside, whoever has set a handler answers."""
at_end = _program.at_end
"""Have something done before a signal ends the process; must be quick."""
unbroken = _program.unbroken
"""Inside, a signal waits: for few lines that belong together, as making something and its removal."""
give_up = _program.give_up
"""End a program with 3 and these words, from any thread: what it rests on has gone."""
wait_if_ending = _program.wait_if_ending
"""Does not return in the main thread once a signal ends the process: what fails there from then on fails by
that, and neither its words nor its exit code count.
"""
say_as = _program.say_as
"""How its own lines look on stderr, where they are not to be plain."""
settle = _program.settle
"""The exit code is known: from now on a signal only hurries the end."""


HALTING = {"os.mkdir", "os.rename", "os.symlink", "open", "subprocess.Popen", "socket.bind"}
"""What would leave something behind."""
HALTED_S = 5.0
"""Longest halt: who ends the process may need what another thread holds."""


def halt_others() -> None:
    """From now on no thread but this one makes a file or begins a process: what it leaves would stay."""
    ending = threading.get_ident()

    def halt(event: str, _: object) -> None:
        if event in HALTING and threading.get_ident() != ending:
            time.sleep(HALTED_S)

    sys.addaudithook(halt)


def interrupted_as(words: str) -> None:
    """What a signal has this program say from now on."""
    _program.words = words


def _heard(number: int, frame: FrameType | None) -> None:
    """Set so that Python writes to the pipe; the thread there does all else."""


def _set(handler: Any) -> None:
    for name in SIGNALS:
        signal.signal(name, handler)
