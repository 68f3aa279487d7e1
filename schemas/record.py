"""The base of every stored record: frozen, strict about unknown fields."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen value; unknown fields and non-finite floats are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    LATER: ClassVar[Mapping[str, Any]] = {}
    """Fields that came after the first release, each with the value that means "as before". It never
    changes, whatever becomes of the field's default, so that what was hashed without it keeps its hash."""

    def identity(self) -> dict[str, Any]:
        """What is hashed, as plain JSON: a later field only where it differs from "as before"."""
        plain: dict[str, Any] = _hashed(self, self.model_dump(mode="json"))
        return plain

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """A record of any release, from plain JSON: a field that was not there yet means "as before".

        Raises `ValidationError`.
        """
        return cls.model_validate_json(json.dumps(_filled(cls, stored)))


def _hashed(value: Any, plain: Any) -> Any:
    """`plain`, which is `value` as JSON, without the later fields that say nothing."""
    if isinstance(value, Record):
        return {
            name: _hashed(held, plain[name])
            for name in type(value).model_fields
            if (held := getattr(value, name)) != value.LATER.get(name, _NEVER)
        }
    if isinstance(value, list | tuple):
        return [_hashed(held, there) for held, there in zip(value, plain, strict=True)]
    return plain


def _filled(kind: type[Record], plain: Any) -> Any:
    """`plain` with every later field, here and in the records within."""
    if isinstance(plain, list):
        return [_filled(kind, one) for one in plain]
    if not isinstance(plain, Mapping):
        return plain
    filled = {**kind.LATER, **plain}
    for name, info in kind.model_fields.items():
        for inner in _records(info.annotation):
            filled[name] = _filled(inner, filled.get(name))
    return {name: filled[name] for name in filled if name in plain or name in kind.LATER}


def _records(annotation: Any) -> Iterator[type[Record]]:
    """The records that a field holds, or holds several of."""
    if isinstance(annotation, type) and issubclass(annotation, Record):
        yield annotation
    for part in get_args(annotation):
        yield from _records(part)


_NEVER = object()
