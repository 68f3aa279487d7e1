"""Which pairs a training has: those that its root knows, the same for every worker and start."""

from factory.storage.local import LocalStore
from factory.storage.protocol import ObjectStore
from schemas.fit import Fit, Reading
from trainer.feeding.find_files import find_files, shelf_of
from trainer.feeding.index import find_index, read_index
from trainer.feeding.pairs import Pairs, open_pairs
from trainer.feeding.truncation import Truncation
from trainer.learning.group import Group
from trainer.root.training import begin_training, find_training, must_be_begun


def known_or_open(
    store: ObjectStore,
    digest: str | None,
    dataset: str,
    reading: Reading,
    truncation: Truncation | None = None,
) -> Pairs:
    """A dataset's pairs by the index that a root holds under a digest, if it still has those files.

    A run that was sealed further still has them; a folder must hold no others, and one on this machine
    is looked at file by file. Otherwise what the dataset holds now, of which `truncation` hears. Raises
    `InputError`.
    """
    index = find_index(store, digest) if digest else None
    if index is not None:
        there = find_files(dataset, pattern=reading.files)
        known, names = set(index.files), set(there.names)
        if known <= names if there.named_by_content else known == names:
            pairs = Pairs(there.of(index.files), reading.columns, index)
            if not isinstance(there.store, LocalStore) or pairs.is_unchanged():
                return pairs
    return open_pairs(dataset, reading.columns, pattern=reading.files, truncation=truncation)


def training_pairs(
    store: ObjectStore, dataset: str, reading: Reading, truncation: Truncation | None = None
) -> Pairs:
    """The pairs that a training's root knows, or of one that has not begun those that are there."""
    begun = find_training(store)
    return known_or_open(store, begun.dataset if begun else None, dataset, reading, truncation)


def agreed_pairs(
    store: ObjectStore, config: Fit, dataset: str, group: Group, is_begun: bool
) -> Pairs:
    """The pairs of all workers of a group; the leading one begins the training where none `is_begun`.

    Raises `InputError` where a worker does not find what was begun, and `RunMismatch` where it finds
    another's.
    """
    if is_begun:
        must_be_begun(store)
    if group.leads:
        pairs = training_pairs(store, dataset, config.reading)
        begin_training(store, config, pairs)
        group.share(pairs.digest)
        return pairs
    # The leader's rows in the leader's order; a file of other content is refused when it is read.
    index = read_index(store, group.share(None))
    pairs = Pairs(shelf_of(dataset, index.files), config.reading.columns, index)
    if is_begun:
        begin_training(store, config, pairs)
    return pairs
