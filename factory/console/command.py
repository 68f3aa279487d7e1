"""What a command ends with: an exit code, and errors as one line."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import NoReturn, ParamSpec

from factory import deeds
from factory.console.say import say
from factory.console.signals import AGAIN, INCOMPLETE, INTERRUPTED, interrupted_as, settle
from factory.errors import EditmillError

P = ParamSpec("P")


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
