"""The columns of a dataset's pictures: bare, or in a struct with a path, as `datasets` stores them."""

from typing import Any

import pyarrow as pa

from factory.errors import InputError
from factory.untrusted_parquet.file import UntrustedParquet
from schemas.training.fit import Columns

BYTES, PATH = "bytes", "path"


def stored_parts(file: UntrustedParquet, column: str) -> list[str]:
    """The stored columns that are read of a column of pictures."""
    kind = file.type_of(column)
    if kind is None or not pa.types.is_struct(kind):
        return [column]
    fields = {kind.field(number).name: kind.field(number).type for number in range(kind.num_fields)}
    named = PATH in fields and pa.types.is_string(fields[PATH])
    return [f"{column}.{part}" for part in ((BYTES, PATH) if named else (BYTES,))]


def check_pictures(file: UntrustedParquet, names: Columns) -> None:
    """Raises `InputError` where a column holds no encoded pictures, or only what they are called."""
    for column in (names.original_image, names.edited_image):
        kind = _type_of_bytes(file.type_of(column))
        if kind is None or not (pa.types.is_binary(kind) or pa.types.is_null(kind)):
            raise InputError(
                f"{file.name}: {column} must hold encoded pictures (binary, or a struct with bytes), "
                f"got {file.type_of(column)}"[:300]
            )
        _check_embedded(file, column, is_null=pa.types.is_null(kind))


def _type_of_bytes(kind: Any) -> Any:
    """Of a column's pictures; None where it has no place for them."""
    if not pa.types.is_struct(kind):
        return kind
    # One that is there several times has no index.
    place = kind.get_field_index(BYTES)
    return kind.field(place).type if place >= 0 else None


def _check_embedded(file: UntrustedParquet, column: str, is_null: bool) -> None:
    """By the counts of nulls in its footer, for no picture is read here."""
    parts = stored_parts(file, column)
    groups = [group for group, rows in enumerate(file.rows) if rows]
    if not is_null and any(file.null_count(n, parts[0]) != file.rows[n] for n in groups):
        return
    path = None
    if len(parts) > 1:
        batch = next(file.batches(groups[0], parts[1:]))
        _, path = bytes_and_path(batch.column(0)[0])
    raise InputError(f"{file.name}: {column}: row group {groups[0]}, row 0 {no_bytes(path)}")


def bytes_and_path(value: pa.Scalar) -> tuple[bytes, str | None]:
    """A picture's bytes, and its path where there are none."""
    if not isinstance(value, pa.StructScalar):
        return value.as_py() or b"", None
    fields = dict(value) if value.is_valid else {}
    data = fields[BYTES].as_py() if BYTES in fields else None
    path = fields.get(PATH)
    if data or path is None or not path.is_valid:
        return data or b"", None
    # Whatever bytes it is of.
    return b"", path.as_buffer().to_pybytes().decode(errors="replace")


def no_bytes(path: Any) -> str:
    """What is said of a picture that a dataset only names."""
    if not path:
        return "holds no picture, got null"
    return (
        f"holds a path ({path!r:.100}) and no bytes; embed the files (datasets embeds on to_parquet / "
        "push_to_hub)"
    )
