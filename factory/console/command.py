"""What a command ends with: an exit code, and errors as one line."""

import inspect
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, ParamSpec

import typer
from typer import rich_utils

from factory import deeds
from factory.console.log import LogFormat, begin_log, end_log, last_words, open_log
from factory.console.options import ToFile, ToFormat
from factory.console.say import say
from factory.console.signals import (
    AGAIN,
    INCOMPLETE,
    INTERRUPTED,
    interrupted_as,
    say_as,
    settle,
    wait_if_ending,
)
from factory.errors import EditmillError, first_line

P = ParamSpec("P")


_LOG = {
    name: inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
    for name, kind, default in (
        ("context", typer.Context, None),
        ("log_format", ToFormat, LogFormat.TEXT),
        ("log_file", ToFile, None),
    )
}
"""The options that every command has, and what it was called as."""


def _refuse(error: Any) -> None:
    """What the parser of options finds wrong, in one line, in place of its box."""
    if type(error).__name__ != "NoArgsIsHelpError":  # which has shown the help
        words = error.format_message().rstrip(".")
        program = error.ctx.command_path if getattr(error, "ctx", None) else "editmill"
        say(f"editmill: {words}; `{program} --help` says more")


rich_utils.rich_format_error = _refuse  # type: ignore[assignment]


def command(
    function: Callable[P, int], words: str = AGAIN, *, kept: bool = False
) -> Callable[..., NoReturn]:
    """Turn a function that returns an exit code into a command that ends with it, or in `words`.

    It gets the options of the log besides its own. `kept`: its starts are logged to files unasked.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> NoReturn:
        deeds.anew()
        interrupted_as(words)
        given: dict[str, Any] = {name: kwargs.pop(name, one.default) for name, one in _LOG.items()}
        verb = given["context"].info_name if given["context"] else function.__name__
        try:
            open_log(verb, _run_of(kwargs), given["log_format"], given["log_file"], unasked=kept)
            say_as(last_words)
            begin_log()
            code = function(*args, **kwargs)
        except KeyboardInterrupt:
            say(f"editmill: {words}", "warning")
            code = INCOMPLETE
        except EditmillError as error:
            wait_if_ending()
            code = deeds.exit_code(error)
            say(f"editmill: {error}", "error", error=type(error).__name__, exit_code=code)
        except Exception as error:
            wait_if_ending()
            # Nobody's mistake but ours: Python shows it, and the log has it for whoever looks later.
            end_log(1, "error", error=first_line(error), traceback=traceback.format_exc())
            raise
        end_log(code)
        settle(code)
        sys.exit(code)

    # What typer reads of a function.
    signature = inspect.signature(function)
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), *_LOG.values()]
    )
    more = {name: one.annotation for name, one in _LOG.items()}
    run.__annotations__ = {**function.__annotations__, **more}
    return run


def resumable(function: Callable[P, int]) -> Callable[..., NoReturn]:
    """As `command`, where the same command goes on; a file is kept of each start."""
    return command(function, INTERRUPTED, kept=True)


def _run_of(given: dict[str, Any]) -> str | None:
    """What a start is about: the run that it makes or reads."""
    found = given.get("out") or given.get("run")
    return None if found is None else str(found)
