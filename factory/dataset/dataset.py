"""A dataset that is open: the one value that goes from whoever named it to whoever reads its rows."""

from collections.abc import Sequence
from dataclasses import replace

from factory.dataset.files import Files, Place, files_at, find_files
from factory.dataset.index import Index
from factory.dataset.pairs import Pairs
from factory.dataset.scan import TokenLimit, scan
from factory.storage.local import LocalStore
from schemas.training.fit import Columns, Reading
from schemas.training.root import InstructionsRecord

LATENTS = "latents"
"""Folder of a dataset in which its latents are looked for unasked."""


class Dataset(Pairs):
    """Files, index, rows by number and by prompt, and where latents of it may lie."""

    def __init__(
        self,
        files: Files,
        columns: Columns,
        index: Index,
        instructions: InstructionsRecord | None = None,
    ) -> None:
        """`files` are those that the index names."""
        super().__init__(files.shelf(), columns, index)
        self.files = files
        self.digest = index.digest
        """sha256 over files, prompts and places: equal for one dataset wherever it lies."""
        self.instructions = instructions
        """Counted where this start read the captions against a limit; else None."""
        grouped: dict[bytes, list[int]] = {}
        for row, prompt in enumerate(map(bytes, index.prompt)):
            grouped.setdefault(prompt, []).append(row)
        names = sorted(grouped)
        self.prompts = [name.hex() for name in names]
        """Names of the prompts, 16 hex digits each."""
        self.rows = [grouped[name] for name in names]
        """The rows of each prompt."""
        self._part: Pairs | None = None

    @classmethod
    def open(
        cls,
        uri: str,
        reading: Reading | None = None,
        known: Index | None = None,
        limit: TokenLimit | None = None,
    ) -> "Dataset":
        """A dataset by its URI. Raises `InputError`.

        `known` is the index of it that a root holds, and counts while the dataset has those files: a run
        that was sealed further still has them; a folder must hold no others, and one on this machine is
        looked at file by file. Otherwise captions are read, and instructions beyond `limit` counted.
        """
        reading = reading or Reading()
        files = find_files(uri, reading.files)
        if known is not None and _has(files, known.files):
            dataset = cls(replace(files, names=known.files), reading.columns, known)
            if not isinstance(files.store, LocalStore) or dataset.is_unchanged():
                return dataset
        index, instructions = scan(files.shelf(), reading.columns, limit)
        return cls(files, reading.columns, index, instructions)

    @classmethod
    def at(cls, place: Place, columns: Columns, index: Index) -> "Dataset":
        """A worker's: what was opened elsewhere. A file of other content is refused when it is read."""
        return cls(files_at(place, index.files), columns, index)

    @property
    def uri(self) -> str:
        """As a person named it."""
        return self.files.uri

    @property
    def latents(self) -> str | None:
        """Where its latents may lie unasked; None for one file."""
        return None if self.files.is_single else f"{self.uri.rstrip('/')}/{LATENTS}"

    def part(self, name: str) -> Pairs:
        """One file's rows, numbered from 0, to be read once in their order; the newest part stays open."""
        if self._part is None or self._part.index.files != (name,):
            shelf = replace(self.files, names=[name]).shelf()
            self._part = Pairs(shelf, self.columns, self.index.of_file(name), reads_once=True)
        return self._part


def _has(files: Files, names: Sequence[str]) -> bool:
    there, wanted = set(files.names), set(names)
    return wanted <= there if files.is_sealed else wanted == there
