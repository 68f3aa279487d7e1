"""The base of every stored record: frozen, strict about unknown fields."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self, get_args, get_origin

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

    def hashed(self, plain: dict[str, Any]) -> dict[str, Any]:
        """What of a record's own fields, here as plain JSON, is hashed wherever it is a part."""
        return plain

    @classmethod
    def filled(cls, stored: Mapping[str, Any]) -> dict[str, Any]:
        """What any release stored, as plain JSON: a field that was not there yet means "as before"."""
        fields = {**cls.LATER, **stored}
        for name, info in cls.model_fields.items():
            for kind in records_in(info.annotation) if name in fields else ():
                fields[name] = _filled(kind, fields[name])
        return fields

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """A record of any release, from plain JSON. Raises `ValidationError`."""
        return cls.model_validate_json(json.dumps(cls.filled(stored)))


def _hashed(value: Any, plain: Any) -> Any:
    """`plain`, which is `value` as JSON, without the later fields that say nothing."""
    if isinstance(value, Record):
        return value.hashed(
            {
                name: _hashed(held, plain[name])
                for name in type(value).model_fields
                if (held := getattr(value, name)) != value.LATER.get(name, _NEVER)
            }
        )
    if isinstance(value, list | tuple):
        return [_hashed(held, there) for held, there in zip(value, plain, strict=True)]
    return plain


def _filled(kind: type[Record], plain: Any) -> Any:
    """The same of a record within, or of several."""
    if isinstance(plain, list):
        return [_filled(kind, one) for one in plain]
    return kind.filled(plain) if isinstance(plain, Mapping) else plain


def records_in(annotation: Any) -> Iterator[type[Record]]:
    """The records that a field holds, or holds several of; none of those that a dict holds by name."""
    if isinstance(annotation, type) and issubclass(annotation, Record):
        yield annotation
    for part in get_args(annotation) if get_origin(annotation) is not dict else ():
        yield from records_in(part)


_NEVER = object()
