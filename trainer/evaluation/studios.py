"""Editors of an evaluation's entrants, of one at a time: two large ones would not fit one GPU together."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition

from factory.edits.edit import Editors
from schemas.edits import EditCompute
from schemas.evaluation import Entrant


def studios_here(compute: EditCompute) -> "Studios":
    """Of a recipe whose files are pinned, on this machine."""
    import torch

    from factory.edits.studio import Studio

    return Studios(lambda entrant: Studio(entrant.edits, compute), torch.cuda.empty_cache)


class Studios:
    """Threads may share it. An entrant's editors are let go once another's are asked for."""

    def __init__(self, make: Callable[[Entrant], Editors], free: Callable[[], None]) -> None:
        """`make` loads those of an entrant; `free` gives back what others left on the device."""
        self._make = make
        self._free = free
        self._turn = Condition()
        self._name = ""
        self._editors: Editors | None = None
        self._users = 0
        self._rows_before = 0

    @contextmanager
    def of(self, entrant: Entrant) -> Iterator[Editors]:
        """Inside, the editors of an entrant; waits while another's are at work."""
        with self._turn:
            self._turn.wait_for(lambda: self._users == 0 or self._name == entrant.name)
            if self._editors is None or self._name != entrant.name:
                self._let_go()
                self._editors, self._name = self._make(entrant), entrant.name
            editors = self._editors
            self._users += 1
        try:
            yield editors
        finally:
            with self._turn:
                self._users -= 1
                self._turn.notify_all()

    def _let_go(self) -> None:
        if self._editors is None:
            return
        self._rows_before = self.rows_run
        close = getattr(self._editors, "close", None)
        if close is not None:
            close()
        self._editors = None
        gc.collect()
        self._free()

    def close(self) -> None:
        """Let go of the last ones."""
        with self._turn:
            self._let_go()

    @property
    def rows_run(self) -> int:
        """UNet rows that carried an edit so far, of all entrants."""
        return self._rows_before + getattr(self._editors, "rows_run", 0)

    @property
    def idle_s(self) -> float | None:
        """Seconds in which the present entrant's editor waited."""
        return getattr(self._editors, "idle_s", None)
