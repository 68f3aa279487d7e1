"""Plug-and-Play's benchmarks as lists of requests: Wild-TI2I, ImageNet-R-TI2I and its generated twin.

Each is a folder with a YAML file beside its pictures: a list of mappings with `init_img`, a path that
begins with the folder's own name or one above it, `target_prompts`, sometimes `source_prompt`. A picture
is edited under each of its target prompts, to a key of its own.

Source: the files behind the README of MichalGeyer/plug-and-play.
"""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from factory.console.yaml_text import MOST_BYTES, parse_yaml, plain
from factory.errors import ConfigError, ListError
from factory.storage.key_rules import USERS
from factory.storage.local import LocalStore
from factory.storage.open import open_store
from factory.storage.protocol import PagedStore
from factory.storage.read import open_object

ENDINGS = (".yaml", ".yml")
FIELDS = ("init_img", "target_prompts", "source_prompt")


def ti2i_rows(
    uri: str, name: str, images: str
) -> Iterator[tuple[str, dict[str, Any] | ValueError]]:
    """A row for each target prompt, with where it stands; `images` is the place of the pictures.

    Raises `ListError` for a file that is no such list, `InputError` where it cannot be read.
    """
    entries = _read(uri, name)
    there = _keys(images)
    for number, entry in enumerate(entries, start=1):
        where = f"{name}: entry {number}"
        row = _problem(entry) or _request(entry, there)
        if isinstance(row, ValueError):
            yield where, row
            continue
        image = PurePosixPath(row["image"])
        for turn, target in enumerate(entry["target_prompts"]):
            key = image.with_name(f"{image.stem}-{turn}{image.suffix}")
            yield where, row | {"target_caption": target, "output_key": str(key)}


def _read(uri: str, name: str) -> list[Any]:
    with open_object(uri) as stream:
        data = stream.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ListError(f"{name}: must be YAML of at most {MOST_BYTES:,} bytes, got more")
    try:
        found = plain(parse_yaml(data.decode("utf-8-sig"), name))
    except UnicodeDecodeError as error:
        raise ListError(f"{name}: must be UTF-8, got a bad byte at {error.start}") from None
    except ConfigError as error:
        raise ListError(str(error)) from None
    if not isinstance(found, list):
        raise ListError(f"{name}: must be a list of {', '.join(FIELDS[:2])}, got {found!r}"[:200])
    return found


def _keys(images: str) -> dict[str, str]:
    """Every picture's key by itself and, where that is no other's, by its small letters: the files name
    some otherwise than they lie there.
    """
    store = open_store(images, USERS)
    if isinstance(store, PagedStore | LocalStore):
        keys = list(store.names())
    else:
        keys = [one.key for one in store.list()]
    return {key.lower(): key for key in reversed(keys)} | {key: key for key in keys}


def _problem(entry: Any) -> ValueError | None:
    if not isinstance(entry, Mapping):
        return ValueError(f"entry must be a mapping, got {entry!r}"[:80])
    targets = entry.get("target_prompts")
    if not isinstance(targets, list) or not targets:
        return ValueError(
            f'field "target_prompts": expected a list of prompts, got {targets!r}'[:120]
        )
    if not isinstance(entry.get("init_img"), str):
        return ValueError(f'field "init_img": expected a path, got {entry.get("init_img")!r}'[:120])
    return None


def _request(entry: Mapping[str, Any], there: Mapping[str, str]) -> dict[str, Any] | ValueError:
    parts = [part for part in entry["init_img"].split("/") if part not in ("", ".")]
    for first in range(len(parts)):
        name = "/".join(parts[first:])
        key = there.get(name) or there.get(name.lower())
        if key is not None:
            return {"image": key, "source_caption": entry.get("source_prompt")}
    return ValueError(
        f'field "init_img": expected a picture beside the list, got {entry["init_img"]!r}'
    )
