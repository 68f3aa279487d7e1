"""SIGINT and SIGTERM: the first stops the job, the second stops waiting for it."""

import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from factory.console.say import say
from factory.console.signals import SIGNALS, left_to_others


class Interruption:
    """A context in which signals are answered; raises `KeyboardInterrupt` once at most.

    Once, so that an impatient hand cannot break off the end of a local cluster.
    """

    def __init__(self) -> None:
        self.stop: Callable[[], None] | None = None
        """How to stop the job; while it is None, the first signal raises."""
        self.asked = False
        self._raised = False
        self._after = ExitStack()

    def __enter__(self) -> "Interruption":
        self._after.enter_context(left_to_others())
        for name in SIGNALS:
            self._after.callback(signal.signal, name, signal.signal(name, self._answer))
        return self

    def __exit__(self, *_: object) -> None:
        self._after.close()

    def _answer(self, *_: Any) -> None:
        if self._raised:
            return
        if self.stop is not None and not self.asked:
            self.asked = True
            say("stopping the job; once more leaves without waiting for it")
            # Not here: the interrupted code may be in the middle of a request.
            threading.Thread(target=self.stop, daemon=True).start()
            return
        self.asked = self._raised = True
        raise KeyboardInterrupt
