"""A running child of the decoder, and the two pipes to it."""

import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from factory.errors import EditmillError
from factory.pictures import Picture
from factory.untrusted_image import child as script

START_S = 60.0
"""Longest wait for a child that was started; a machine may be busy."""
DEATH_S = 5.0
"""Longest wait for the exit code of a child that is silent for good."""
ENVIRONMENT = ("LD_LIBRARY_PATH",)
"""All that a child inherits by name: without it some Pythons do not start."""


class Header(NamedTuple):
    """What a reply begins with, as `child.Found` says it."""

    outcome: int
    had: int
    width: int
    height: int


class Child:
    """A running child and the two pipes to it."""

    def __init__(self, most_pixels: int, memory_bytes: int, cpu_s: float) -> None:
        self.asked = 0
        self.most_pixels = most_pixels
        numbers = (most_pixels, memory_bytes, cpu_s)
        self.process = subprocess.Popen(
            # Isolated: no PYTHON* variables, and nothing of this package on its path.
            [sys.executable, "-I", "-B", script.__file__, *map(str, numbers)],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
            cwd="/",
            # Ctrl-C is for the program; the child ends when its stdin does.
            start_new_session=True,
        )
        assert self.process.stdin
        assert self.process.stdout
        self._to, self._from = self.process.stdin.fileno(), self.process.stdout.fileno()
        for pipe in (self._to, self._from):
            os.set_blocking(pipe, False)
        try:
            self._header(time.monotonic() + START_S)
        except (EOFError, TimeoutError) as error:
            code = self.end(DEATH_S)
            raise EditmillError(
                f"{script.__file__}: the image decoder did not start: {type(error).__name__}, exit "
                f"code {code}; is Pillow installed, and are {memory_bytes} bytes enough for it?"
            ) from None
        except BaseException:
            self.end()
            raise

    def ask(self, data: bytes, opens: bool, until: float) -> Header:
        """How its reply begins. Raises `TimeoutError`, and `EOFError` where it has died."""
        self.asked += 1
        self._send(script.REQUEST.pack(opens, len(data)), until)
        self._send(data, until)
        return self._header(until)

    def picture(self, width: int, height: int, until: float) -> Picture:
        """The pixels that follow a header, whose numbers are believed only within the limits."""
        if not 0 < width * height <= self.most_pixels:
            raise EOFError(f"{width} x {height} pixels as its reply")
        picture = np.empty((height, width, 3), np.uint8)
        self._receive(picture.data.cast("B"), until)
        return picture

    def end(self, patience_s: float = 0.0) -> int | None:
        """Its exit code, negative for a signal; None where it had to be ended."""
        code: int | None = None
        with suppress(subprocess.TimeoutExpired):
            code = self.process.wait(patience_s)
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()
        return code

    def _header(self, until: float) -> Header:
        header = bytearray(script.REPLY.size)
        self._receive(memoryview(header), until)
        mark, *numbers = script.REPLY.unpack(header)
        if mark != script.MARK:
            raise EOFError("a reply of another form")
        return Header(*numbers)

    def _send(self, data: bytes, until: float) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._to, left) :]
            except BlockingIOError:
                _wait(self._to, select.POLLOUT, until)
            except BrokenPipeError:
                raise EOFError from None

    def _receive(self, left: memoryview, until: float) -> None:
        while left:
            try:
                count = os.readv(self._from, [left])
            except BlockingIOError:
                _wait(self._from, select.POLLIN, until)
                continue
            if not count:
                raise EOFError
            left = left[count:]


def _wait(pipe: int, event: int, until: float) -> None:
    poll = select.poll()
    poll.register(pipe, event)
    if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
        raise TimeoutError
