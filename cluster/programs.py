"""The commands that `editmill` knows, as its own parser has them; nothing is run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import typer
from typer.exceptions import Exit, TyperException

from factory.errors import ConfigError

CHECK = "check"
"""The parameter of verbs that can look at their input without starting anything: `--check`."""


@dataclass(frozen=True)
class Parsed:
    """A command line that the parser takes."""

    verb: str
    given: Mapping[str, Any]
    """Parameters by their names."""
    can_be_checked: bool
    """Whether the verb takes `--check`; such a verb's `--out` is a place in a store."""

    @property
    def out(self) -> str | None:
        """Where its results go, of verbs that say so by `--out`."""
        found = self.given.get("out")
        return None if found is None else str(found)


def parse(words: Sequence[str], where: str) -> Parsed:
    """What the parser makes of a verb and its options, for a message called `where`.

    Raises `ConfigError` for a verb that this version has not, for those of `cluster` itself, and for
    options that the verb does not take.
    """
    verbs = _verbs()
    verb, rest = (words[0], [*words[1:]]) if words else ("", [])
    if verb not in verbs:
        raise ConfigError(
            f"{where}: must begin with a verb of this version, got {verb!r}; there are: "
            f"{', '.join(sorted(verbs))}"
        )
    command = verbs[verb]
    while (within := getattr(command, "commands", None)) and rest and rest[0] in within:
        command, rest = within[rest[0]], rest[1:]
    if within:
        got = repr(rest[0]) if rest else "none"
        raise ConfigError(f"{where}: {verb} must be followed by {' or '.join(within)}, got {got}")
    try:
        context = command.make_context(verb, rest)
    except TyperException as error:
        problem = error.format_message().rstrip(".")
        raise ConfigError(f"{where}: {problem}; `editmill {verb} --help` says more") from None
    except Exit:
        raise ConfigError(
            f"{where}: must be a command that runs, got one that shows help"
        ) from None
    return Parsed(verb, context.params, CHECK in context.params)


def takes_out(verb: str) -> bool:
    """Whether a verb needs a place in a store for its results."""
    command = _verbs().get(verb)
    names = {one.name: one for one in getattr(command, "params", ())}
    return CHECK in names and "out" in names and bool(names["out"].required)


@cache
def _verbs() -> dict[str, Any]:
    """Those of the factory and the trainer. Imported here, since the one command imports this package."""
    import editmill
    from cluster.__main__ import app as ours

    own = typer.main.get_command(ours)
    every = typer.main.get_command(editmill.app)
    return {
        name: command
        for name, command in getattr(every, "commands", {}).items()
        if name not in getattr(own, "commands", {ours: own})
    }
