"""How a stage's runs are stored: columns of its rows, what is counted, and what things are called.

In memory the ledger has one set of names for all stages. The first stage, `generate`, stored runs before
there was another, under names of its own: those stay.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from schemas.record import Record


class Layout(Record):
    """What the verbs on a run must know of its stage; RUN.json holds it."""

    stage: str = Field(min_length=1)
    """Its name, a verb."""
    version: int = Field(ge=1)
    """Raised when its bytes change; a run is gone on with by that version alone, and read by any."""
    items: dict[str, str]
    """Columns of what a plan lists, and their Arrow types."""
    outcomes: dict[str, str]
    """Columns of what a commit holds, one row or more an item, and their Arrow types."""
    counts: tuple[str, ...] = Field(min_length=1)
    """What may become of an outcome. `failed` is one of them."""
    marks: tuple[str, ...] = ()
    """What may be noted of an outcome besides: whether it is so, or a number to be summed."""
    retry: Literal["unit", "row"] = "unit"
    """What is made again of a unit with failures: all of it where all failed, or what failed alone, of a
    stage with one outcome an item, in their order, whose column `verdict` holds the count's name."""

    named: bool = False
    """Whether what a unit leaves lies at keys of its own beside the run; its outcomes have the columns
    `key`, `sha256`, `verdict` and `reason`."""
    finishes: bool = False
    """Whether something is made of all outcomes when a run is sealed."""
    item: str = "item"
    """What an item is called."""
    outcome: str = "outcome"
    """What an outcome is called."""
    kept: str = "outcome"
    """What an outcome of the first count is called."""

    FAILED: ClassVar[str] = "failed"


_TEXTS = ("original_prompt", "edit_prompt", "edited_prompt", "edit_kind", "url")
_SCORES = ("clip_sim_0", "clip_sim_1", "clip_sim_dir", "clip_sim_image")
GENERATE = Layout(
    stage="generate",
    version=1,
    items=dict.fromkeys(_TEXTS, "str"),
    outcomes={
        **{"triplet_id": "str", "index": "int", "seed": "int"},
        **{"p2p_threshold": "float", "cfg_scale": "float", **dict.fromkeys(_SCORES, "float")},
        **{"verdict": "str", "reason": "str", "borderline": "bool", "truncated": "bool"},
    },
    counts=("accepted", "rejected", "failed"),
    marks=("borderline", "truncated"),
    item="triplet",
    outcome="candidate",
    kept="pair",
)
"""Of runs whose RUN.json names no stage."""
NAMES: Mapping[str, Mapping[str, str]] = {
    "generate": {
        "items": "triplets",
        "unit_items": "unit_triplets",
        "outcomes_sha256": "candidates_sha256",
        "data": "pairs",
        "data_key": "pairs_key",
        "data_sha256": "pairs_sha256",
        "data_bytes": "pairs_bytes",
        "reasons": "rejections",
    }
}
"""What a stage calls things where it stores them, if not as they are called here."""


def to_stored(layout: Layout, record: Record) -> dict[str, Any]:
    """A record as the stage stores it: under its names, its counts beside each other."""
    return renamed(layout, record.identity())


def renamed(layout: Layout, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields under the stage's names."""
    names = NAMES.get(layout.stage, {})
    stored: dict[str, Any] = {}
    for name, value in fields.items():
        if name in ("counts", "marks"):
            stored |= value
        elif name == "tally" and isinstance(value, dict):
            stored[name] = renamed(layout, value)
        else:
            stored[names.get(name, name)] = value
    return stored


def from_stored(layout: Layout, kind: type[Record], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record from what the stage stored. What is not there is left out."""
    names = {there: here for here, there in NAMES.get(layout.stage, {}).items()}
    fields = {names.get(name, name): value for name, value in stored.items()}
    for group, members in (("counts", layout.counts), ("marks", layout.marks)):
        if group in kind.model_fields:
            fields[group] = {name: fields.pop(name) for name in members if name in fields}
    tally = kind.model_fields.get("tally")
    if tally is not None and isinstance(fields.get("tally"), Mapping):
        inner: Any = tally.annotation
        fields["tally"] = from_stored(layout, inner, fields["tally"])
    return fields
