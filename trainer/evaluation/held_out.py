"""The pictures and instructions that editors are judged on: listed once, and opened by each worker."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np

from factory.dataset.dataset import Dataset
from factory.dataset.decoders import Decoders
from factory.dataset.files import Place, find_files
from factory.dataset.index import Index, read_index
from factory.dataset.scan import READERS, open_file
from factory.edits.listing import canonical, open_images, place_of, read_requests
from factory.edits.opening import Opened, Opener
from factory.errors import ConfigError, InputError
from factory.ledger.run import Run
from factory.pictures import Picture
from factory.storage.patience import patiently
from factory.untrusted_image.decoder import ImageRefused
from factory.untrusted_parquet.texts import texts
from schemas.canonical import content_hash
from schemas.edits import EditItem, EditRecipe
from schemas.evaluation import EvaluationItem, EvaluationRecipe, HeldOut
from schemas.training.fit import Reading
from trainer.feeding.hold_out import hold_out
from trainer.miniature.tasks import MOST, edit_tasks


class Unreadable(Exception):
    """A picture that cannot be shown to an editor; its message says why."""


@dataclass(frozen=True)
class Task:
    """A held-out picture and what is to be done to it."""

    number: int
    picture: str
    """What tells it from the others where it lies: a number, a row, a key."""
    kind: str | None
    instruction: str | None
    source_caption: str | None
    target_caption: str | None


@dataclass(frozen=True)
class Tasks:
    """All of them, and what workers need to find their pictures."""

    tasks: Sequence[Task]
    digest: str
    """sha256 over them, and over the dataset that they are from."""
    place: Place | None = None
    index: Index | None = None
    """Of a dataset."""
    images: str = ""
    """Of requests, where their pictures lie."""


def find_tasks(recipe: EvaluationRecipe, known: Index | None = None) -> Tasks:
    """What a recipe's editors are judged on.

    `known` is the index of the dataset that a run holds, as in `Dataset.open`. Raises `InputError` where
    it cannot be read, or lacks the words that an editor needs.
    """
    held_out = recipe.held_out
    if held_out.kind == "miniature":
        found = _scenes(held_out.first, held_out.count)
    elif held_out.kind == "dataset":
        found = _rows(held_out, known)
    else:
        found = _requests(held_out, recipe.entrants[0].edits)
    if not found.tasks:
        raise InputError(f"{held_out.source}: must hold at least one held-out picture, got none")
    for entrant in recipe.entrants:
        for word in entrant.settings.needs:
            task = next((task for task in found.tasks if not getattr(task, word)), None)
            if task is not None:
                raise InputError(
                    f"{held_out.source or held_out.kind}: {entrant.name} ({entrant.edits.editor}) needs a "
                    f"{word} of every picture, got none of {task.picture}"
                )
    return found


def _digest(tasks: Sequence[Task], of: str) -> str:
    return content_hash({"tasks": [asdict(task) for task in tasks], "of": of})


def _scenes(first: int, count: int) -> Tasks:
    if first + count > MOST:
        after = f" after {first}" if first else ""
        raise ConfigError(
            f"held_out.count: must be at most {MOST - first} of the miniature{after}, got {count}"
        )
    found = edit_tasks(first + count)[first:]
    tasks = [
        Task(
            number=number,
            picture=f"{number:04d}",
            kind=task.edit_kind,
            instruction=task.instruction,
            source_caption=task.original_prompt,
            target_caption=task.edited_prompt,
        )
        for number, task in enumerate(found, start=first)
    ]
    pixels = hashlib.sha256()
    for scene in found:
        pixels.update(scene.picture.tobytes())
    return Tasks(tasks, _digest(tasks, pixels.hexdigest()))


def _rows(held_out: HeldOut, known: Index | None) -> Tasks:
    """One row of each held-out prompt, in the order of the prompts' hashes."""
    reading = Reading(columns=held_out.columns, files=held_out.files)
    dataset = Dataset.open(held_out.source, reading, known)
    chosen: Sequence[int] = range(len(dataset.prompts))
    if held_out.held_out:
        chosen = hold_out(dataset.prompts, held_out.held_out, 0)[1]
        if not chosen:
            raise InputError(
                f"{held_out.source}: held_out {held_out.held_out:g} must leave at least one of its "
                f"{len(dataset.prompts)} prompts, got none"
            )
    rows = [dataset.rows[prompt][0] for prompt in chosen]
    rows = rows[held_out.first :][: held_out.count]
    words = dict(_words(dataset, rows))
    tasks = [
        Task(number, str(row), None, *words[row]) for number, row in enumerate(rows, held_out.first)
    ]
    digest = _digest(tasks, dataset.digest)
    return Tasks(tasks, digest, dataset.files.place, dataset.index)


def _words(
    dataset: Dataset, rows: Sequence[int]
) -> Iterator[tuple[int, tuple[str | None, str | None, str | None]]]:
    """The instruction and the captions of rows, file by file; null where a dataset has none."""
    index, names, wanted = dataset.index, dataset.columns, set(rows)
    asked = (names.edit_prompt, names.original_prompt, names.edited_prompt)
    for number in sorted({int(index.file[row]) for row in rows}):
        name = index.files[number]
        file = open_file(dataset.shelf.place(number), name)
        there = [column for column in asked if file.type_of(column) is not None]
        row = int(np.searchsorted(index.file, number))
        for group in range(len(file.rows)):
            for batch in file.batches(group, there):
                read = {
                    column: texts(batch.column(column), file.is_json(column)) for column in there
                }
                for offset in range(batch.num_rows):
                    if row in wanted:
                        found = [read[c][offset] if c in read else None for c in asked]
                        instruction, *captions = (w if isinstance(w, str) else None for w in found)
                        yield row, (instruction, captions[0], captions[1])
                    row += 1


def _requests(held_out: HeldOut, first: EditRecipe) -> Tasks:
    images = canonical(held_out.images or place_of(held_out.source))
    recipe = first.model_copy(update={"images": images})
    listed = read_requests(held_out.source, recipe, writes=False)
    chosen = listed.items[held_out.first :][: held_out.count]
    tasks = [_task(number, item) for number, item in enumerate(chosen, held_out.first)]
    store = open_images(images)
    with ThreadPoolExecutor(READERS) as threads:
        found = list(threads.map(lambda task: patiently(lambda: store.find(task.picture)), tasks))
    sizes = [one.bytes if one else None for one in found]
    return Tasks(tasks, _digest(tasks, content_hash(sizes)), images=images)


def _task(number: int, item: EditItem) -> Task:
    return Task(
        number, item.image, None, item.instruction, item.source_caption, item.target_caption
    )


class Pictures(Protocol):
    """Opens held-out pictures, in any thread."""

    def open(self, item: EvaluationItem) -> Picture:
        """(height, width, 3) uint8. Raises `Unreadable`."""

    def close(self) -> None: ...


def open_pictures(run: Run, place: Place | None, most_pixels: int) -> Pictures:
    """Those of a run; `place` is a dataset's, whose index the run holds."""
    held_out = EvaluationRecipe.known(run.recipe).held_out
    if held_out.kind == "miniature":
        return Scenes(held_out.first + held_out.count)
    if held_out.kind == "requests":
        return Requested(Opener(open_images(held_out.images), most_pixels))
    assert place is not None
    index = read_index(run.store, held_out.dataset)
    return Rows(Dataset.at(place, held_out.columns, index))


def place_of_run(recipe: EvaluationRecipe) -> Place | None:
    """Where the dataset of a run lies, for who did not begin it. Raises `InputError`."""
    held_out = recipe.held_out
    if held_out.kind != "dataset":
        return None
    return find_files(held_out.source, held_out.files).place


class Scenes:
    """Of the miniature: drawn again."""

    def __init__(self, count: int) -> None:
        self._tasks = edit_tasks(count)

    def open(self, item: EvaluationItem) -> Picture:
        return self._tasks[item.number].picture

    def close(self) -> None:
        """Nothing is open."""


class Rows:
    """Of a dataset: the picture before of a row."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._decoders = Decoders()

    def open(self, item: EvaluationItem) -> Picture:
        pair = self._dataset.pair(int(item.picture))
        try:
            return self._decoders.decode(pair.original, "original")
        except ImageRefused as error:
            raise Unreadable(str(error)) from None

    def close(self) -> None:
        self._decoders.close()


class Requested:
    """Of a list of requests: objects by their keys."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener

    def open(self, item: EvaluationItem) -> Picture:
        found = self._opener.open(item.picture)
        if isinstance(found, Opened):
            return found.picture
        raise Unreadable(found.reason)

    def close(self) -> None:
        self._opener.close()
