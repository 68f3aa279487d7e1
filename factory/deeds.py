"""What this start has done so far, for the code it ends with: 2 is only ever "nothing was started".

A process has one start at a time. Stores tell what they wrote, whoever counts units or steps tells that
there is one; what a start writes to try a store is removed again and counts as nothing.
"""

from dataclasses import dataclass

from factory.errors import EditmillError, InputError, StorageRefused

PROBES = "probe/"
"""The prefix of the few tiny objects by which a store is tried; nothing else is kept there."""


@dataclass
class _Start:
    has_written: bool = False
    has_made: bool = False


_start = _Start()


def anew() -> None:
    """Another start begins in this process."""
    _start.has_written = _start.has_made = False


def wrote(key: str) -> None:
    """An object was stored or removed."""
    _start.has_written = _start.has_written or not key.startswith(PROBES)


def made() -> None:
    """A unit is made, or a step of a training done."""
    _start.has_made = True


def exit_code(error: EditmillError) -> int:
    """What a program ends with that lets this error through.

    An input that is wrong is told with 2 also beside the record of what was to be done: the same start
    with another input goes on there. A store that refuses once something lies in it, and any refusal
    once something was made, leave work behind that a rerun resumes.
    """
    refused = _start.has_written and isinstance(error, StorageRefused)
    if error.exit_code == InputError.exit_code and (_start.has_made or refused):
        return EditmillError.exit_code
    return error.exit_code


def standing(error: Exception) -> dict[str, bool]:
    """What a process with work of its own says beside a refusal; for `hear`."""
    is_begun = isinstance(error, EditmillError) and exit_code(error) != error.exit_code
    return {"begun": is_begun, "store": isinstance(error, StorageRefused)}


def hear(begun: bool, store: bool) -> None:
    """Another process of this start refused: it had begun its work, or a store that this one wrote to."""
    _start.has_made = _start.has_made or begun or (store and _start.has_written)


def outward(error: EditmillError) -> EditmillError:
    """The error for a process that knows nothing of this one's work."""
    return error if exit_code(error) == error.exit_code else EditmillError(str(error))
