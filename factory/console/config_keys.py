"""What keys a kind of configuration knows, and which of them was meant by one that it does not know."""

import difflib
from collections.abc import Iterator
from typing import Any

from schemas.record import Record, records_in

MOST_MEANT = 3
"""Keys that one hint names."""
ALIKE = 0.8
"""How alike a name of another group must be; in its own, difflib's own measure will do."""


def known_keys(kind: type[Record], path: tuple[str, ...] = ()) -> list[str]:
    """The keys of a group, numbers of a list passed over; none where there is no such group."""
    group: type[Record] | None = kind
    for name in path:
        if name.isdecimal():
            continue
        info = group.model_fields.get(name) if group else None
        if info is None:
            return []
        group = next(records_in(info.annotation), None)
    return list(group.model_fields) if group else []


def all_keys(kind: type[Record], before: str = "") -> Iterator[str]:
    """Every key that `--set` can name, with its groups, in the order of the schema."""
    for name, info in kind.model_fields.items():
        yield before + name
        group = next(records_in(info.annotation), None)
        if group and not _is_list(info.annotation):
            yield from all_keys(group, f"{before}{name}.")


def meant(kind: type[Record], path: tuple[str, ...], value: Any) -> str:
    """What to write in place of an unknown key, for a message: by its name in other groups, then by
    names that look like it. `value` is what was given to it.
    """
    name, group = path[-1], path[:-1]
    everywhere = [key for key in all_keys(kind) if key != ".".join(path)]
    if same := _named(everywhere, [name]):
        return f"did you mean {same}?"
    known = known_keys(kind, group)
    if near := difflib.get_close_matches(name, known, 1):
        return f"did you mean {'.'.join((*group, near[0]))!r}?"
    if near := difflib.get_close_matches(name, {_last(key) for key in everywhere}, 1, ALIKE):
        return f"did you mean {_named(everywhere, near)}?"
    listed = f"known: {', '.join(known)}"
    # The group is another program's, or misspelt: its keys may be known elsewhere.
    inner = _named(everywhere, [str(key) for key in value]) if isinstance(value, dict) else ""
    return f"{listed}; did you mean {inner}?" if inner else listed


def _named(keys: list[str], names: list[str]) -> str:
    """The keys that end with one of these names, quoted; empty where there are none."""
    found = [repr(key) for key in keys if _last(key) in names]
    return " or ".join(found[:MOST_MEANT])


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _is_list(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) is tuple
