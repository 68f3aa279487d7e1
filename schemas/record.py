"""The base of every stored record: frozen, strict about unknown fields."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationInfo, model_validator

STORED = {"stored": True}
"""The context in which a record of any release is read: `model_validate_json(data, context=STORED)`."""


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

    @model_validator(mode="before")
    @classmethod
    def _as_before(cls, fields: Any, info: ValidationInfo) -> Any:
        """What was stored before a field was there means "as before", not today's default."""
        if info.context == STORED and isinstance(fields, dict):
            return {**cls.LATER, **fields}
        return fields


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
    if isinstance(value, dict):
        return {name: _hashed(held, plain[name]) for name, held in value.items()}
    return plain


_NEVER = object()
