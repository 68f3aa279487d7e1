"""How a command speaks: results on stdout, everything else on stderr, errors as one line."""

import json
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, ParamSpec

from rich.console import Console
from rich.table import Table

from factory.errors import EditmillError
from factory.status import Status

P = ParamSpec("P")


def command(function: Callable[P, int]) -> Callable[P, NoReturn]:
    """Turn a function that returns an exit code into a command that ends with it."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> NoReturn:
        try:
            code = function(*args, **kwargs)
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
    """Names and values in two columns, on stdout."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in facts.items():
        table.add_row(name, "-" if value is None else str(value))
    Console().print(table)


def print_status(status: Status) -> None:
    """A run's state as tables, on stdout."""
    rows = status.rows_per_accepted
    sealed = status.sealed
    print_facts(
        {
            "run": status.uri,
            "units": f"{status.committed_units} of {status.units} committed",
            "candidates": status.tally.candidates,
            "accepted": f"{status.tally.accepted} ({status.tally.acceptance:.1%})",
            "rejected": status.tally.rejected,
            "failed": status.tally.failed,
            "borderline": status.borderline,
            "prompts cut": status.truncated,
            "rows per accepted pair": None if rows is None else f"{rows:.0f}",
            "sealed": sealed
            and f"{'partial' if sealed['partial'] else 'whole'}, {sealed['manifest_hash'][:16]}",
        }
    )
    table = Table("edit kind", "candidates", "accepted", "acceptance", title="by edit kind")
    for kind, tally in status.by_kind.items():
        table.add_row(kind, str(tally.candidates), str(tally.accepted), f"{tally.acceptance:.1%}")
    gates = Table("rejected by", "candidates", title="a candidate may fail several gates")
    for gate, count in status.rejections.items():
        gates.add_row(gate, str(count))
    Console().print(table)
    if status.rejections:
        Console().print(gates)
