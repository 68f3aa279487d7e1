"""A configuration as YAML, each key below a comment that says what it means; `--config` reads it back."""

import textwrap
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.representer import RoundTripRepresenter

from schemas.recipe import ModelSource, Recipe
from schemas.record import Record

WIDTH = 100
STEP = 2
"""Blanks by which a group is set in."""


class _Representer(RoundTripRepresenter):
    """As ruamel's, with `null` where it would write nothing."""

    def null(self, _: None) -> Any:
        return self.represent_scalar("tag:yaml.org,2002:null", "null")


_Representer.add_representer(type(None), _Representer.null)


def to_yaml(config: Record, heading: str) -> str:
    """The text; `heading` is its first line."""
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.width = 10 * WIDTH
    yaml.indent(mapping=STEP, sequence=2 * STEP, offset=STEP)
    sink = StringIO()
    yaml.dump(_mapping(config, 0), sink)
    return f"# {' '.join(heading.split())}\n\n{sink.getvalue()}"


def _mapping(record: Record, depth: int) -> CommentedMap:
    found, plain = CommentedMap(), record.model_dump(mode="json")
    for name, info in type(record).model_fields.items():
        value = getattr(record, name)
        if _is_set_by_program(record, name) and value == info.get_default(
            call_default_factory=True
        ):
            continue
        found[name] = _value(value, plain[name], depth)
        words = " ".join((info.description or "").split())
        comment = textwrap.wrap(words, WIDTH - STEP * depth - 2)
        found.yaml_set_comment_before_after_key(
            name, before="\n".join(comment), indent=STEP * depth
        )
    return found


def _is_set_by_program(record: Record, name: str) -> bool:
    """Keys that nobody writes; they are shown where they hold anything but what they begin with."""
    return (isinstance(record, Recipe) and name == "stage_versions") or (
        isinstance(record, ModelSource) and name == "files"
    )


def _value(value: Any, plain: Any, depth: int) -> Any:
    """`plain` is the same as JSON has it."""
    if isinstance(value, Record):
        return _mapping(value, depth + 1)
    if isinstance(value, tuple) and any(isinstance(one, Record) for one in value):
        # Indented once more than a group, by the dash.
        return CommentedSeq(_mapping(one, depth + 2) for one in value)
    if isinstance(plain, list):
        inline = CommentedSeq(plain)
        inline.fa.set_flow_style()
        return inline
    return plain
