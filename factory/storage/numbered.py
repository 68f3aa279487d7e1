"""Objects that are written one after another under 0, 1, 2, ...: which there are, by a listing."""

from collections.abc import Callable

from factory.errors import StorageRefused
from factory.storage.patience import patiently
from factory.storage.protocol import ObjectStore

LISTINGS = 5
"""Another driver may write the next one between a listing and the look for it, but not so often."""


def numbers(store: ObjectStore, prefix: str, key_of: Callable[[int], str]) -> list[int]:
    """The numbers of what lies below a prefix, in order.

    What has the highest is looked for by its key as well: a listing that lacks it would let an old one
    pass for the newest. Raises `StorageRefused` where the listing lacks what is there.
    """
    for _ in range(LISTINGS):
        listed = {info.key for info in store.list(prefix)}
        names = (key.rpartition("/")[2].partition(".")[0] for key in listed)
        found = sorted({int(name) for name in names if name.isdecimal()})
        found = [number for number in found if key_of(number) in listed]
        following = key_of(found[-1] + 1 if found else 0)
        if patiently(lambda key=following: store.find(key)) is None:  # type: ignore[misc]
            return found
    raise StorageRefused(
        f"{store.uri}/{prefix}: a listing must show every object, got none of {following}, which is "
        "there; this store cannot be used"
    )
