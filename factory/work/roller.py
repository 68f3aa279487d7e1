"""Rolls finished segments up while the job runs, so that the next start need not read them."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType

from factory.errors import EditmillError
from factory.ledger import keys
from factory.ledger.book import Book, Closing


class Roller:
    """Counts committed units and writes roll-ups in a thread of its own, one at a time.

    What goes wrong here is left to the sealer, which writes the roll-ups that are missing and says
    what stands in the way.
    """

    def __init__(self, book: Book, done: bytearray) -> None:
        self.book = book
        self._done = bytearray(done)
        self._open = {
            segment: self._done.count(0, units.start, units.stop)
            for segment in book.segments
            if len(units := book.units_of(segment)) == keys.SEGMENT_UNITS
        }
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="roller")

    def __enter__(self) -> "Roller":
        for segment, left in self._open.items():
            if not left:
                self._pool.submit(self._roll_up, segment)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def see(self, unit: int) -> None:
        """A unit is committed; reported twice it counts once."""
        self.book.know(unit)
        segment = keys.segment_of(unit)
        if self._done[unit] or segment not in self._open:
            return
        self._done[unit] = 1
        self._open[segment] -= 1
        if not self._open[segment]:
            self._pool.submit(self._roll_up, segment)

    def close(self) -> None:
        """Give up what is not finished; what was read of it stays in the book."""
        self.book.closing.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.book.closing.clear()

    def _roll_up(self, segment: int) -> None:
        with suppress(EditmillError, Closing):
            self.book.roll_up(segment)
