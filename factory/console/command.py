"""What a command ends with: an exit code, and errors as one line."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, ParamSpec

from typer import rich_utils

from factory import deeds
from factory.console.say import say
from factory.console.signals import AGAIN, INCOMPLETE, INTERRUPTED, interrupted_as, settle
from factory.errors import EditmillError

P = ParamSpec("P")


def _refuse(error: Any) -> None:
    """What the parser of options finds wrong, in one line, in place of its box."""
    if type(error).__name__ != "NoArgsIsHelpError":  # which has shown the help
        words = error.format_message().rstrip(".")
        program = error.ctx.command_path if getattr(error, "ctx", None) else "editmill"
        say(f"editmill: {words}; `{program} --help` says more")


rich_utils.rich_format_error = _refuse  # type: ignore[assignment]


def command(function: Callable[P, int], words: str = AGAIN) -> Callable[P, NoReturn]:
    """Turn a function that returns an exit code into a command that ends with it, or in `words`."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> NoReturn:
        deeds.anew()
        interrupted_as(words)
        try:
            code = function(*args, **kwargs)
        except KeyboardInterrupt:
            say(f"editmill: {words}")
            code = INCOMPLETE
        except EditmillError as error:
            say(f"editmill: {error}")
            code = deeds.exit_code(error)
        settle(code)
        sys.exit(code)

    return run


def resumable(function: Callable[P, int]) -> Callable[P, NoReturn]:
    """As `command`, where the same command goes on."""
    return command(function, INTERRUPTED)
