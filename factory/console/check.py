"""`--check`: what a start would refuse, found where it is typed; nothing is started, nothing is written.

The command may be about to run elsewhere: what cannot be looked at from here is said, and passed over.
"""

import json
import os
from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from factory.console.say import say
from factory.errors import BucketMissing, InputError, ObjectMissing, StorageError

UNSEEN = "EDITMILL_UNSEEN"
"""In the environment: JSON, the places that `--check` must not look at."""
LOCAL_PATHS = "/"
"""Among them: every path of this machine."""

CheckOnly = Annotated[
    bool,
    typer.Option(
        "--check",
        help="Look at options, configuration and input as far as this machine sees them, then end: 0 or 2. "
        "Nothing is started or written.",
    ),
]

NOTHING_WRONG = "checked: nothing is wrong as far as it can be seen here; nothing was started"

T = TypeVar("T")


class Check:
    """A look at what a command names."""

    def __init__(self) -> None:
        self._unseen: list[str] = json.loads(os.environ.get(UNSEEN, "[]"))

    @property
    def runs_here(self) -> bool:
        """Whether the command is to run on this machine."""
        return LOCAL_PATHS not in self._unseen

    def sees(self, uri: str) -> bool:
        """Whether a place can be looked at: it is not another machine's, and not yet to be filled."""
        is_path = "://" not in uri
        if is_path and not self.runs_here:
            return False
        place = os.path.abspath(os.path.expanduser(uri)) if is_path else uri.rstrip("/")
        return not any(
            f"{place}/".startswith(f"{one.rstrip('/')}/")
            for one in self._unseen
            if one != LOCAL_PATHS
        )

    def look(self, option: str, uri: str, act: Callable[[], T]) -> T | None:
        """What `act` finds at a place; None, and a line that says so, where it cannot be looked at.

        Raises `InputError`; where the command is to run here also what the store refuses.
        """
        if not self.sees(uri):
            say(f"{option} {uri}: is looked at where and when it runs")
            return None
        try:
            return act()
        except ObjectMissing as error:
            raise InputError(f"{option} {uri}: {error}") from None
        except StorageError as error:
            # Here other keys may count than there.
            if self.runs_here or isinstance(error, BucketMissing):
                raise
            say(f"{option} {uri}: cannot be looked at from here: {error}")
            return None
