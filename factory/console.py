"""How a command speaks: results on stdout, everything else on stderr, errors as one line."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import wraps
from typing import Any, NoReturn, ParamSpec

from rich.console import Console
from rich.table import Table
from rich.text import Text

from factory import deeds
from factory.doctor.finding import Finding, Level
from factory.errors import EditmillError, InputError
from factory.job import JobResult
from factory.ledger.status import Status
from factory.progress import Reached, shown_bar
from factory.signals import INCOMPLETE, INTERRUPTED, settle
from schemas.cluster import hide_secrets

P = ParamSpec("P")

TABLE_ROWS = 20


def command(function: Callable[P, int]) -> Callable[P, NoReturn]:
    """Turn a function that returns an exit code into a command that ends with it."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> NoReturn:
        deeds.anew()
        try:
            code = function(*args, **kwargs)
        except KeyboardInterrupt:
            say(f"editmill: {INTERRUPTED}")
            code = INCOMPLETE
        except EditmillError as error:
            say(f"editmill: {error}")
            code = deeds.exit_code(error)
        settle(code)
        sys.exit(code)

    return run


def say(text: str) -> None:
    """A line for the person, on stderr; where a bar is shown, above it, or what it then shows."""
    bar = shown_bar()
    if bar is None:
        print(_printable(text), file=sys.stderr, flush=True)
    elif isinstance(text, Reached):
        bar.reach(text.done, _printable(text.beside))
    else:
        bar.say(_printable(text))


class Opening:
    """Says lines for the person, before the first of them the one that opens a start.

    That one is not said of a start that is refused, unless there was something else to say.
    """

    def __init__(self, line: str) -> None:
        self.line: str | None = line

    def __call__(self, text: str) -> None:
        """A line of its own, after the first."""
        self.begin()
        say(text)

    def begin(self) -> None:
        """Say the first line, once."""
        if self.line is not None:
            say(self.line)
            self.line = None


def _printable(text: str) -> str:
    """On one line, without keys, and without what a terminal would obey: file names may hold it."""
    text = hide_secrets(text)
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
            "failed units": status.failed_units
            and f"{status.failed_units}; generate --retry-failed",
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


def print_result(status: Status, result: JobResult, as_json: bool) -> None:
    """How a start of the main job ended, on stdout."""
    if as_json:
        ended = {"exit_code": result.exit_code, "message": result.message}
        problems = [f"unit {p.unit}: {p.message}" for p in result.problems]
        print_json(status.as_json() | ended | {"problems": problems})
    else:
        print_status(status)
        say(result.message)


def print_findings(findings: Iterable[Finding], as_json: bool) -> int:
    """Each as it comes, or all as one object; returns the exit code: 2 where a check failed."""
    seen: list[Finding] = []
    for finding in findings:
        seen.append(finding)
        if not as_json:
            print(_finding_line(finding.level, finding.check, finding.found), flush=True)
            if finding.remedy:
                print(_finding_line("", "", f"-> {finding.remedy}"), flush=True)
    counts = {level: sum(one.level == level for one in seen) for level in Level}
    code = InputError.exit_code if counts[Level.FAILED] else 0
    if as_json:
        print_json({"exit_code": code, "counts": counts, "checks": [asdict(one) for one in seen]})
    else:
        verdict = "not ready" if code else "ready"
        print(f"{verdict}: {', '.join(f'{n} {level}' for level, n in counts.items() if n)}")
    return code


def _finding_line(level: str, check: str, words: str) -> str:
    return f"{level:<11}  {check:<14}  {_printable(words)}"


def _print_table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """The first rows; words from data are shown as they are, never read as markup."""
    table = Table(*titles)
    for row in rows[:TABLE_ROWS]:
        table.add_row(*(Text(_printable(str(value))) for value in row))
    if len(rows) > TABLE_ROWS:
        table.add_row(Text(f"and {len(rows) - TABLE_ROWS} more"))
    Console().print(table)
