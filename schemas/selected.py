"""Whose candidates a run chose anew among."""

from schemas.record import Record


class SelectedRecord(Record):
    """`selected.json` of a run that `select` began."""

    version: int = 1
    run: str | None
    """URI of the run whose candidates they are; null where it lies around this one: both may move."""
    recipe_hash: str
    """Of that run."""
