"""A run's state redrawn until it is sealed, by looks at its ledger: from any machine, without Ray."""

import time
from collections.abc import Callable

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from factory.console.progress import duration, pace
from factory.console.say import print_json, printable, say
from factory.console.signals import at_end, settle
from factory.errors import StorageUnavailable
from factory.ledger.looks import GAP_S, Look, Looks
from factory.ledger.plan import Plan
from factory.ledger.run import Run

SHOW_CURSOR = "\x1b[?25h\n"
NO_ANSWER = "the store gives no clear answer; it is asked again"


def watch(run: Run, plan: Plan, every_s: float, as_json: bool) -> int:
    """Show a look every so many seconds, until the run is sealed or a signal comes: both end well.

    On a terminal one picture that is redrawn; else a line a look that shows something new; as JSON an
    object a line and look.
    """
    # Nothing is in hand: a signal ends this with 0, at once.
    settle(0)
    console = Console()
    try:
        if as_json:
            _follow(run, plan, every_s, lambda look: print_json(look.as_json()), say)
        elif not console.is_terminal:
            _follow(run, plan, every_s, _Lines(), say)
        else:
            at_end(lambda: console.file.write(SHOW_CURSOR) and console.file.flush())
            with Live(console=console, auto_refresh=False) as live:
                picture = _Picture(live)
                _follow(run, plan, every_s, picture.show, picture.tell)
    except KeyboardInterrupt:
        pass
    return 0


def _follow(
    run: Run,
    plan: Plan,
    every_s: float,
    show: Callable[[Look], object],
    tell: Callable[[str], object],
) -> None:
    looks = Looks(run, plan)
    while True:
        begun = time.monotonic()
        try:
            look = looks.look()
        except StorageUnavailable:
            tell(NO_ANSWER)
        else:
            show(look)
            if look.ended:
                return
        time.sleep(max(0.0, every_s - (time.monotonic() - begun)))


class _Lines:
    """A line for each look that shows something new."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, look: Look) -> None:
        line = ", ".join([f"{look.committed_units}/{look.units} units", *words(look)])
        if line != self._last or look.ended:
            print(line, flush=True)
        self._last = line


class _Picture:
    """What a terminal shows."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._look: Look | None = None

    def show(self, look: Look) -> None:
        self._look = look
        self._live.update(picture(look), refresh=True)

    def tell(self, trouble: str) -> None:
        shown = [picture(self._look)] if self._look else []
        self._live.update(Group(*shown, Text(trouble, style="yellow")), refresh=True)


def words(look: Look) -> list[str]:
    """What there is to say of a look beside its units."""
    layout = look.run.layout
    found = [f"{count} {name}" for name, count in look.counts.items()]
    if look.counted_units < look.committed_units - look.damaged_units:
        found.append(f"{layout.outcome}s of {look.counted_units} units so far")
    if look.failed_units:
        found.append(f"{look.failed_units} units failed")
    if look.damaged_units:
        found.append(f"{look.damaged_units} units damaged: `editmill verify`")
    if look.ended and look.sealed:
        return [*found, _seal(look)]
    if look.each_s is not None:
        found.append(pace(look.each_s, look.units - look.committed_units))
    if look.silent_s is not None and look.silent_s > GAP_S:
        found.append(f"no commit for {duration(look.silent_s)}")
    return found


def _seal(look: Look) -> str:
    return "sealed, partial" if look.sealed and look.sealed["partial"] else "sealed"


def picture(look: Look) -> Table:
    """A look as a small table with a bar; words from data are shown as they are, never read as markup."""
    table = Table.grid(padding=(0, 2))
    share = look.committed_units / look.units if look.units else 0.0
    units = f"{look.committed_units} of {look.units} committed ({share:.1%})"
    rows: list[tuple[str, object]] = [
        (look.run.layout.stage, Text(printable(look.run.uri))),
        ("units", units),
        ("", ProgressBar(total=max(1, look.units), completed=look.committed_units, width=40)),
    ]
    total = sum(look.counts.values())
    for name, count in look.counts.items():
        rows.append((name, f"{count} ({count / total:.1%})" if total else "0"))
    told = words(look)[len(look.counts) :]
    if look.each_s is None and not look.ended:
        told.insert(0, "no pace yet" if look.committed_units < look.units else "not sealed yet")
    rows += [("", line) for line in told]
    if look.sealed and not look.ended:
        rows.append(("before", _seal(look)))
    for name, value in rows:
        table.add_row(name, value)  # type: ignore[arg-type]
    return table
