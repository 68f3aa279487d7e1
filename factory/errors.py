"""The errors of the factory. Each carries one message: where, rule, got.

    EditmillError
        InputError              the operator's mistake; nothing was started            exit 2
            ConfigError         a configuration file or option
            ListError           a line of a list
            ModelError          weights that are missing, cut, pickled or of another kind
            RunMismatch         the folder holds another run, or another recipe
        StorageError            the store said no, or nothing                          exit 3
            ObjectMissing       no such object
            StorageRefused      wrong keys, missing bucket, not writable               exit 2
                BucketMissing, KeyTaken
            StorageUnavailable  no clear answer; try again
        ServerRefused           a language model's server takes no request of ours     exit 2
        ServerUnavailable       it gave no answer for a long time                      exit 3
        Damaged                 a stored object is not what its record says            exit 3
            NeedsRepair         a unit's commit or data; `verify --repair` opens it    exit 5

They cross process borders by pickle, so none takes more than the message. Once a start has begun its work
what would end it with 2 ends it with 3: `factory/deeds.py`.
"""

from typing import ClassVar


class EditmillError(Exception):
    """The root; `exit_code` is what a program ends with when it lets one through."""

    exit_code: ClassVar[int] = 3


class InputError(EditmillError):
    """The operator's mistake; raised before anything is started."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration file or option breaks a rule."""


class ListError(InputError):
    """A line of a list breaks a rule."""


class ModelError(InputError):
    """Weights are missing, cut, pickled or of another kind."""


class RunMismatch(InputError):
    """The folder holds another run, or a run with another recipe."""


class StorageError(EditmillError):
    """The store did not do what it was asked."""


class ObjectMissing(StorageError):
    """No object under that key."""


class StorageRefused(StorageError):
    """Wrong keys, a missing bucket, or no right to write: trying again does not help."""

    exit_code = 2


class BucketMissing(StorageRefused):
    """There is no such bucket at this endpoint, whatever keys one has."""


class KeyTaken(StorageRefused):
    """A folder stands at the key, or a file where the key has a folder: in a bucket both could be."""


class StorageUnavailable(StorageError):
    """The store gave no clear answer; the object may or may not be there."""


class ServerRefused(EditmillError):
    """A language model's server takes no request of ours: the key, the model, the money."""

    exit_code = 2


class ServerUnavailable(EditmillError):
    """A language model's server gave no answer for a long time."""


class Damaged(EditmillError):
    """A stored object is not what its record says."""


def first_line(error: BaseException, length: int = 200) -> str:
    """The kind of an error and the start of what it says, on one line."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:length]}" if words else type(error).__name__


class NeedsRepair(Damaged):
    """A unit's commit or data is lost or not what it was: a rerun alone would find the same for ever."""

    exit_code = 5
