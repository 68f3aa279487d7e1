"""Whether Ray's own command line takes a command; nothing is started."""

import shlex
from collections.abc import Sequence
from typing import Any

import click
from ray.scripts.scripts import drain_node, start
from ray.scripts.symmetric_run import curate_and_validate_ray_start_args, symmetric_run


def start_options(command: str) -> dict[str, Any]:
    """The options of the one `ray start` in a line of shell. Raises click's errors on one unknown to it."""
    (part,) = [words for words in _commands(command) if words[:2] == ["ray", "start"]]
    return _parsed(part[2:])


def symmetric_options(words: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Of `ray symmetric-run`: its own options, those for `ray start`, and the command."""
    assert list(words[:2]) == ["ray", "symmetric-run"]
    given = list(words[2:])
    separator = given.index("--")
    own, command = given[:separator], given[separator + 1 :]
    context = symmetric_run.make_context("symmetric-run", list(own))
    return dict(context.params), _parsed(curate_and_validate_ray_start_args(own)), command


def drain_options(words: Sequence[str]) -> dict[str, Any]:
    """Of `ray drain-node`, which Ray does not list but has."""
    assert list(words[:2]) == ["ray", "drain-node"]
    return dict(drain_node.make_context("drain-node", list(words[2:])).params)


def _parsed(words: Sequence[str]) -> dict[str, Any]:
    context = start.make_context("start", list(words))
    unread = context.args
    if unread:
        raise click.UsageError(f"unread: {unread}")
    return dict(context.params)


def _commands(line: str) -> list[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    commands: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set(";&|"):
            commands.append([])
        else:
            commands[-1].append(word)
    return commands
