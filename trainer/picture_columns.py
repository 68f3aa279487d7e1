"""The columns of a dataset's pictures: bare, or in a struct with a path, as `datasets` stores them."""

from typing import Any

import pyarrow as pa

from factory.errors import InputError
from factory.untrusted_parquet.file import UntrustedParquet
from schemas.fit import Columns
from trainer.index import where

BYTES, PATH = "bytes", "path"


def stored_parts(file: UntrustedParquet, column: str) -> list[str]:
    """The stored columns that are read of a column of pictures."""
    kind = file.type_of(column)
    if not pa.types.is_struct(kind):
        return [column]
    names = [kind.field(number).name for number in range(kind.num_fields)]
    return [f"{column}.{part}" for part in (BYTES, PATH) if part in names]


def check_pictures(file: UntrustedParquet, names: Columns) -> None:
    """Raises `InputError` where a column holds no encoded pictures, or only what they are called."""
    for column in (names.original_image, names.edited_image):
        kind = file.type_of(column)
        if not _holds_pictures(kind):
            raise InputError(
                f"{file.name}: {column} must hold encoded pictures (binary, or a struct with bytes), "
                f"got {kind}"[:300]
            )
        _check_embedded(file, column)


def _holds_pictures(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        # One that is there several times has no index.
        place = kind.get_field_index(BYTES)
        return place >= 0 and _is_bytes(kind.field(place).type)
    return _is_bytes(kind)


def _is_bytes(kind: Any) -> bool:
    """Of nulls alone, too: what is amiss with those is said by `_check_embedded`."""
    return bool(pa.types.is_binary(kind) or pa.types.is_null(kind))


def _check_embedded(file: UntrustedParquet, column: str) -> None:
    """By the counts of nulls in its footer, for no picture is read here."""
    parts = stored_parts(file, column)
    groups = [group for group, rows in enumerate(file.rows) if rows]
    if any(file.null_count(group, parts[0]) != file.rows[group] for group in groups):
        return
    path = None
    if len(parts) > 1:
        batch = next(file.batches(groups[0], parts[1:]))
        path = batch.column(0)[0].as_py()[PATH]
    raise InputError(f"{file.name}: {column}: {where('', groups[0], 0)[2:]} {no_bytes(path)}")


def bytes_and_path(value: Any) -> tuple[bytes, str | None]:
    """A picture's bytes, and its path where there are none."""
    if not isinstance(value, dict):
        return value or b"", None
    data = value[BYTES] or b""
    return data, None if data else value.get(PATH)


def no_bytes(path: Any) -> str:
    """What is said of a picture that a dataset only names."""
    if not path:
        return "holds no picture, got null"
    return (
        f"holds a path ({path!r:.100}) and no bytes; embed the files (datasets embeds on to_parquet / "
        "push_to_hub)"
    )
