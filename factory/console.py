"""How a command speaks: results on stdout, everything else on stderr, errors as one line."""

import json
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NoReturn, ParamSpec

from rich.console import Console
from rich.table import Table
from rich.text import Text

from factory.errors import EditmillError
from factory.status import Status

P = ParamSpec("P")

TABLE_ROWS = 20


def command(function: Callable[P, int]) -> Callable[P, NoReturn]:
    """Turn a function that returns an exit code into a command that ends with it."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> NoReturn:
        try:
            code = function(*args, **kwargs)
        except KeyboardInterrupt:
            say("editmill: interrupted; run the same command to resume")
            code = EditmillError.exit_code
        except EditmillError as error:
            say(f"editmill: {error}")
            code = error.exit_code
        sys.exit(code)

    return run


def say(text: str) -> None:
    """A line for the person, on stderr."""
    print(_printable(text), file=sys.stderr, flush=True)


def _printable(text: str) -> str:
    """On one line, and without what a terminal would obey: file names may hold both."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def print_json(value: dict[str, Any]) -> None:
    """The one JSON object that a machine reads, on stdout."""
    print(json.dumps(value, ensure_ascii=False, default=str))


def print_facts(facts: dict[str, Any]) -> None:
    """Names and values in two columns, on stdout; nothing is cut or wrapped."""
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        print(f"{name:<{width}}  {'-' if value is None else value}")


def print_status(status: Status) -> None:
    """A run's state as tables, on stdout."""
    rows = status.rows_per_accepted
    sealed = status.sealed
    print_facts(
        {
            "run": status.uri,
            "units": f"{status.committed_units} of {status.units} committed",
            "candidates": status.counts.candidates,
            "accepted": f"{status.counts.accepted} ({status.counts.acceptance:.1%})",
            "rejected": status.counts.rejected,
            "failed": status.counts.failed,
            "borderline": status.borderline,
            "prompts cut": status.truncated,
            "rows per accepted pair": None if rows is None else f"{rows:.0f}",
            "sealed": sealed
            and f"{'partial' if sealed['partial'] else 'whole'}, {sealed['manifest_hash'][:16]}",
        }
    )
    by_kind = [
        (kind, counts.candidates, counts.accepted, f"{counts.acceptance:.1%}")
        for kind, counts in sorted(status.by_kind.items(), key=lambda item: -item[1].candidates)
    ]
    _print_table(("edit kind", "candidates", "accepted", "acceptance"), by_kind)
    rejections = [(gate, count) for gate, count in status.rejections.items()]
    if rejections:
        _print_table(("rejected by (several gates may)", "candidates"), rejections)


def _print_table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """The first rows; words from data are shown as they are, never read as markup."""
    table = Table(*titles)
    for row in rows[:TABLE_ROWS]:
        table.add_row(*(Text(_printable(str(value))) for value in row))
    if len(rows) > TABLE_ROWS:
        table.add_row(Text(f"and {len(rows) - TABLE_ROWS} more"))
    Console().print(table)
