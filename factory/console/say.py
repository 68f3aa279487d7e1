"""How a program speaks: results on stdout, everything else on stderr."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from factory.console.log import note, tell
from factory.console.progress import Reached, shown_bar
from schemas.running.cluster import hide_secrets

TABLE_ROWS = 20


def say(text: str, level: str = "info", **fields: Any) -> None:
    """A line for the person, on stderr; where a bar is shown, above it, or what it then shows.

    `level` is info, warning or error; `fields` are what it says, for machines that read the log.
    """
    bar = shown_bar()
    if isinstance(text, Reached):
        fields["done"] = text.done
    if bar is None:
        tell(printable(text), level, **fields)
    elif isinstance(text, Reached):
        bar.reach(text.done, printable(text.beside))
        note(printable(text), level, **fields)
    else:
        bar.say(printable(text), level, **fields)


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


def printable(text: str) -> str:
    """On one line, without keys, and without what a terminal would obey: file names may hold it."""
    text = hide_secrets(text)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def print_json(value: dict[str, Any]) -> None:
    """The one JSON object that a machine reads, on stdout."""
    print(json.dumps(value, ensure_ascii=False, default=str), flush=True)


def print_facts(facts: dict[str, Any]) -> None:
    """Names, a machine's with blanks, and values in two columns, on stdout; nothing is cut or wrapped."""
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):<{width}}  {'-' if value is None else value}")


def print_table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """The first rows; words from data are shown as they are, never read as markup, and None as a dash."""
    table = Table(*titles)
    for row in rows[:TABLE_ROWS]:
        table.add_row(*(Text("-" if value is None else printable(str(value))) for value in row))
    if len(rows) > TABLE_ROWS:
        table.add_row(Text(f"and {len(rows) - TABLE_ROWS} more"))
    Console().print(table)
