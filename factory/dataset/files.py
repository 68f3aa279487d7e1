"""Which files a dataset is: a sealed run's pairs, the Parquet files of a folder, or one file."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import NamedTuple

from factory.dataset.splits import TRAIN, pattern_of, shards_of, splits_of
from factory.errors import InputError
from factory.ledger import keys
from factory.ledger.manifest import sealed_data_uris
from factory.ledger.run import open_run
from factory.storage.key_rules import is_key
from factory.storage.local import LocalStore
from factory.storage.open import open_store
from factory.storage.patience import patiently
from factory.storage.protocol import ObjectStore, PagedStore
from factory.storage.shelf import Shelf
from factory.untrusted_parquet.names import SUFFIX, parquet_names


class Place(NamedTuple):
    """Where a dataset lies: for workers, which have its index and look nothing up again."""

    uri: str
    """Its store's, absolute."""
    is_sealed: bool
    is_single: bool
    """Both as in `Files`."""


@dataclass(frozen=True)
class Files:
    """Which files a dataset is, and all that was found out for it."""

    uri: str
    """As a person named the dataset."""
    store: ObjectStore
    names: Sequence[str]
    """Below the store."""
    is_sealed: bool = False
    """Whether they are a run's, named by their content: they never change, and more may be sealed."""
    is_single: bool = False
    """Whether the dataset is a file: what is called as one may be a folder, as Spark writes them."""
    notes: Sequence[str] = ()
    """What a person should hear of this choice."""

    @property
    def place(self) -> Place:
        return Place(self.store.uri, self.is_sealed, self.is_single)

    def shelf(self) -> Shelf:
        """Their bytes."""
        return Shelf(self.store, self.names, named_by_content=self.is_sealed)


def files_at(place: Place, names: Sequence[str]) -> Files:
    """Files whose names are known, at a place that is known."""
    return Files(place.uri, open_store(place.uri), names, place.is_sealed, place.is_single)


def find_files(uri: str, pattern: str | None = None) -> Files:
    """The files of a dataset: a sealed run's pairs, every `.parquet` below a folder, or one file.

    Of a folder, `pattern` chooses files by their names below it (`train-*`). Raises `InputError` where
    there are none, for a run that was never sealed, and unless there is a pattern for a folder of several
    splits or that lacks shards; shards of several writes are refused in any case.
    """
    store, file = _opened(uri)
    if file is not None:
        return Files(uri, store, [file], is_single=True)
    if store.find(keys.RUN) is not None:
        names = [name.removeprefix(f"{store.uri}/") for name in sealed_data_uris(open_run(store))]
        if not names:
            raise InputError(f"{uri}: holds no sealed pairs; `editmill seal --partial` seals some")
        return Files(uri, store, names, is_sealed=True)
    there = parquet_names(store)
    if not there:
        raise InputError(f"{uri}: must be a sealed run or hold .parquet files, got none")
    names = there if pattern is None else [name for name in there if fnmatch(name, pattern)]
    if not names:
        raise InputError(f"reading.files: must match files of {uri}, got {pattern!r}")
    notes = [] if pattern is not None else _split_notes(uri, names)
    notes += _shard_notes(uri, there, names, chosen=pattern is not None)
    _check_keys(store, names)
    return Files(uri, store, names, notes=notes)


def _opened(uri: str) -> tuple[ObjectStore, str | None]:
    """A store, and the name of the one file of it that is meant; None for a folder."""
    bare = uri.rstrip("/")
    if not bare.endswith(SUFFIX):
        return open_store(uri), None
    folder = open_store(bare)
    parent, _, name = bare.rpartition("/")
    store = open_store(parent or ("/" if bare.startswith("/") else "."))
    if isinstance(folder, LocalStore):
        is_folder = folder.folder.is_dir()
    else:
        is_folder = patiently(lambda: store.find(name)) is None and bool(parquet_names(folder))
    return (folder, None) if is_folder else (store, name)


def _split_notes(uri: str, names: Sequence[str]) -> list[str]:
    """What to say of the one split that is there. Raises `InputError` where there are others."""
    splits = splits_of(names)
    order = sorted(splits)
    if not order or order == [TRAIN]:
        return []
    of_none = len(set(names).difference(*splits.values()))
    if len(order) == 1 and not of_none:
        return [f"{uri}: holds the split {order[0]} alone, which is trained"]
    if len(order) == 1:
        raise InputError(
            f"{uri}: holds the split {order[0]} beside files of no split ({of_none}); reading.files "
            "chooses files"
        )
    wanted = TRAIN if TRAIN in splits else order[0]
    pattern = pattern_of(splits[wanted], names, wanted)
    such = f", such as {pattern!r}" if pattern else ""
    raise InputError(f"{uri}: holds the splits {', '.join(order)}; reading.files chooses one{such}")


def _shard_notes(uri: str, there: Sequence[str], names: Sequence[str], chosen: bool) -> list[str]:
    """What to say of shards that are lacking. Raises `InputError` for those that nobody has `chosen`.

    So it does for shards of several writes.
    """
    notes = []
    meant = set()
    for sets in shards_of(names):
        meant |= {(shards.stem, shards.of) for shards in sets}
        numbers = sets[0].numbers
        if len(sets) > 1 or len(set(numbers)) < len(numbers):
            raise InputError(
                f"{uri}: must hold the shards of one write, got {' and '.join(map(str, sets))} of "
                f"{sets[0].called}; remove those of the older, or reading.files chooses, such as "
                f"'*-of-{sets[-1].of:05d}*'"
            )
    for shards in (shards for sets in shards_of(there) for shards in sets):
        if shards.is_whole or (shards.stem, shards.of) not in meant:
            continue
        lack = f"{uri}: holds {shards} shards of {shards.called}, got no {shards.missing()}"
        if not chosen:
            raise InputError(f"{lack}; fetch them, or reading.files chooses what is there")
        notes.append(f"{lack}; what is there is trained")
    return notes


def _check_keys(store: ObjectStore, names: Sequence[str]) -> None:
    """Raises `InputError` for a name in a bucket that nothing can be read by."""
    if not isinstance(store, PagedStore):
        return
    stranger = next((name for name in names if not is_key(name)), None)
    if stranger is not None:
        raise InputError(
            f"{store.uri}/{stranger}: the name must be letters, digits and ._- in parts separated by / "
            "to be read from a store; rename it, or copy the dataset to a folder"
        )
