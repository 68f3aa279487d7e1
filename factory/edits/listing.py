"""Which pictures are to be edited, and how: all below a prefix, or those that a list of requests names."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from pydantic import ValidationError

from factory.console.log import tell
from factory.edits.codec import output_key
from factory.edits.items import ItemList, distinct, on_disk
from factory.edits.ti2i import ENDINGS, ti2i_rows
from factory.errors import InputError, ListError
from factory.ledger.keys import BESIDE
from factory.lists.bad_lines import BadLines
from factory.lists.read import is_missing, is_unicode, rows_of
from factory.storage.key_rules import RUN, USERS
from factory.storage.local import LocalStore
from factory.storage.open import open_store
from factory.storage.protocol import ObjectStore, PagedStore
from factory.untrusted_parquet.texts import MOST_TEXT, TooLong
from schemas.editors import EDITORS
from schemas.edits import KNOBS, EditItem, EditRecipe

DIALECTS: dict[str, tuple[str, ...]] = {
    "image": ("image", "file_name", "key"),
    "key": ("output_key",),
    "instruction": ("instruction", "edit_prompt", "edit"),
    "source_caption": ("source_caption", "original_prompt", "caption", "input"),
    "target_caption": ("target_caption", "edited_prompt"),
    **{name: (name,) for name in ("editor", "seed")},
    **{name: (name,) for name in ("text_guidance", "image_guidance", "strength")},
}
"""A request's fields and the columns that give them: ours, and those of triplets and of `imagefolder`."""
KNOWN = tuple(alias for aliases in DIALECTS.values() for alias in aliases)
WANTED = "image, instruction"
NUMBERS: dict[str, type[int] | type[float]] = {
    "seed": int, "text_guidance": float, "image_guidance": float, "strength": float,
}  # fmt: skip


TELL_EVERY_S = 5.0


@dataclass(frozen=True)
class Listed:
    """Pictures in order, each once."""

    items: ItemList
    duplicates: int = 0
    bad: list[str] = field(default_factory=list)
    """One message per line that was left out."""


@dataclass(frozen=True)
class Wish:
    """What is to be done to every picture of a prefix."""

    instruction: str | None = None
    source_caption: str | None = None
    target_caption: str | None = None

    @property
    def fields(self) -> dict[str, str | None]:
        """As a request gives them."""
        return dict(vars(self))


def list_images(recipe: EditRecipe, wish: Wish) -> Listed:
    """Every object below `recipe.images`, in key order. Raises `InputError` where there is none."""
    why = why_not(recipe, recipe.editor, wish.fields)
    if why:
        raise InputError(f"--editor {recipe.editor}: {why}")
    settings = recipe.of(recipe.editor)
    assert settings is not None
    for name, words in wish.fields.items():
        if words is not None and name not in settings.needs:
            tell(f"--{name.replace('_', '-')}: {recipe.editor} does not read it", "warning")
    store = open_images(recipe.images)
    keys = _aloud(keys_below(store))
    if store.find(f"{BESIDE}/{RUN}"):
        # Edits of edits: of the run that made them there are more objects than pictures.
        tell(f"{recipe.images}: {BESIDE}/ is passed over, the records of the run that is there")
        keys = (key for key in keys if key.partition("/")[0] != BESIDE)
    items = on_disk(item_of(recipe, {"image": key, **wish.fields}) for key in keys)
    found = _distinct(recipe, items, [])
    found.items.may_lack = True
    return found


def read_requests(uri: str, recipe: EditRecipe, max_bad: int = 0, *, writes: bool = True) -> Listed:
    """Read a list of requests: JSON lines, CSV or Parquet, or the YAML of Plug-and-Play's benchmarks.

    Where nothing is written by them, output keys are their numbers, so that a picture may come several
    times. Raises `ListError` where there is no usable line, or more than `max_bad` bad ones: the message is
    the first bad line's; where two requests name one output key.
    """
    name = uri.rstrip("/").rsplit("/", 1)[-1]
    bad = BadLines(max_bad)
    rows: Iterator[tuple[str, Any]] = rows_of(uri, name, KNOWN, WANTED)
    if name.lower().endswith(ENDINGS):
        rows = ti2i_rows(uri, name, recipe.images)
    numbers = count()

    def taken() -> Iterator[EditItem]:
        for where, row in rows:
            try:
                item = _request(recipe, row, writes)
                number = next(numbers)
                yield item if writes else item.model_copy(update={"key": str(number)})
            except ValueError as error:
                bad.add(where, error)

    items = on_disk(taken())
    bad.check()
    if not items:
        raise ListError(f"{name}: must hold at least one request, got none")
    return _distinct(recipe, items, bad.messages)


def _distinct(recipe: EditRecipe, items: ItemList, bad: list[str]) -> Listed:
    if not items:
        raise InputError(f"{recipe.images}: must hold at least one object, got none")
    try:
        return Listed(*distinct(items), bad=bad)
    except ValueError as error:
        one, other = error.args
        also = "" if one.image != other.image else f" ({one.words!r} and {other.words!r})"
        raise ListError(
            f"{one.key}: must be the key of one edited picture, got two: of {one.image} and "
            f"{other.image}{also}; give each an `output_key`, or leave formats as they are"
        ) from None


def open_images(uri: str) -> ObjectStore:
    """Where pictures are read from, under any keys. Raises `InputError` where there is no such folder."""
    store = open_store(uri, USERS)
    if isinstance(store, LocalStore) and not store.folder.is_dir():
        got = "a file" if store.folder.exists() else "none"
        raise InputError(f"{uri}: must be a folder or s3://bucket/prefix, got {got}")
    return store


def keys_below(store: ObjectStore) -> Iterator[str]:
    """Every object's key, in order; also those that no key here may be, which are said to be so later.

    Hidden files of a folder and a console's `folder/` are passed over.
    """
    if isinstance(store, PagedStore | LocalStore):
        return (key for key in store.names() if key and not key.endswith("/"))
    return (info.key for info in store.list())


def _aloud(keys: Iterator[str]) -> Iterator[str]:
    """The same; of a long listing how many it has found, now and then."""
    told = time.monotonic()
    for number, key in enumerate(keys, start=1):
        yield key
        if time.monotonic() - told > TELL_EVERY_S:
            told = time.monotonic()
            tell(f"{number:,} objects are listed so far")


def item_of(recipe: EditRecipe, fields: Mapping[str, Any]) -> EditItem:
    """A request with what it leaves to the recipe. Raises `ValidationError`."""
    image = fields["image"]
    given = dict.fromkeys(EditItem.model_fields) | dict(fields)
    given["editor"] = given["editor"] or recipe.editor
    given["key"] = given["key"] or output_key(image, recipe.output)
    return EditItem(**given)


def bad_key(key: str) -> str:
    """Why nothing may lie at a key below the output; empty where it may."""
    if key.partition("/")[0] == BESIDE:
        return f"not lie below {BESIDE}/, where the run's records are"
    return USERS.why_not(key)


def why_not(recipe: EditRecipe, editor: str, fields: Mapping[str, Any]) -> str:
    """Why a request cannot be made by an editor; empty where it can."""
    if editor not in EDITORS:
        return f"must be one of {', '.join(EDITORS)}, got {editor!r}"
    settings = recipe.of(editor)
    if settings is None:
        return f"must be configured as recipe.{editor}, got nothing"
    lacking = [name for name in settings.needs if not fields.get(name)]
    if lacking:
        return f"needs {' and '.join(lacking)}, got none"
    vain = [
        f"{name} {fields[name]:g}"
        for name in KNOBS
        if fields.get(name) is not None and name not in type(settings).model_fields
    ]
    return f"takes none, got {' and '.join(vain)}" if vain else ""


def _request(recipe: EditRecipe, row: Any, writes: bool) -> EditItem:
    """Where nothing is written by it nobody says yet who edits. Raises `ValueError` with rule and got."""
    if isinstance(row, ValueError):
        raise row
    if not isinstance(row, dict):
        raise ValueError(f"line must be a JSON object, got {row!r}"[:80])
    fields = {name: _field(row, name, aliases) for name, aliases in DIALECTS.items()}
    if fields["image"] is None:
        got = repr(", ".join(row))[:80]
        raise ValueError(f'field "image": expected the key of a picture, got {got}')
    fields["image"] = str(fields["image"]).removeprefix(f"{recipe.images}/")
    editor = str(fields["editor"] or recipe.editor)
    why = why_not(recipe, editor, fields) if writes else ""
    if why:
        raise ValueError(f'field "editor": {editor} {why}')
    why = USERS.why_not(fields["image"])
    if why:
        raise ValueError(f'field "image": must {why}, got {fields["image"][:80]!r}')
    try:
        item = item_of(recipe, fields)
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"]) from None
    why = bad_key(item.key)
    if why:
        raise ValueError(f"output key: must {why}, got {item.key[:80]!r}")
    return item


def _field(row: dict[str, Any], name: str, aliases: Iterable[str]) -> Any:
    """What the first alias says that says anything, or None."""
    alias = next((one for one in aliases if not is_missing(row.get(one))), None)
    if alias is None:
        return None
    value = row[alias]
    if isinstance(value, ValueError):
        raise ValueError(f'field "{alias}": {value}')
    if name in NUMBERS:
        return _number(alias, value, NUMBERS[name])
    if not isinstance(value, str) or not is_unicode(value):
        raise ValueError(f'field "{alias}": expected text, got {value!r}'[:120])
    if len(value) > MOST_TEXT // 4 and (length := len(value.encode())) > MOST_TEXT:
        raise ValueError(f'field "{alias}": {TooLong(length)}')
    return value


RANGES = {
    "seed": (0, 2**63 - 1),
    "text_guidance": (0, 100),
    "image_guidance": (0, 100),
    "strength": (0.001, 1),
}


def _number(name: str, value: Any, kind: type[int] | type[float]) -> int | float:
    low, high = RANGES[name]
    try:
        if isinstance(value, bool):
            raise ValueError
        number = kind(value)
        if number != float(value) and kind is float or not low <= number <= high:
            raise ValueError
        if kind is int and not isinstance(value, str) and number != value:
            raise ValueError
    except (ValueError, TypeError, OverflowError):
        raise ValueError(
            f'field "{name}": expected a number within {low}..{high}, got {value!r}'[:120]
        ) from None
    return number


def place_of(uri: str) -> str:
    """The folder or prefix in which a list of requests lies: pictures are named from there."""
    parent = uri.rstrip("/").rpartition("/")[0]
    return parent or os.curdir


def canonical(uri: str) -> str:
    """A place as a run's recipe names it: the same for every way to write it."""
    return open_store(uri, USERS).uri
