"""A dry run of edits: what a list of pictures will take, before anything is started."""

from dataclasses import asdict, dataclass
from typing import Any

from factory.console.amounts import counted, in_hours
from factory.edits.listing import Listed
from schemas.editors import DiffusersPipeline
from schemas.edits import EditItem, EditRecipe, Edits


@dataclass(frozen=True)
class EditOutlook:
    """Counts are exact but for `rows`, which are of pictures at `size_px` squared."""

    pictures: int
    duplicates: int
    bad_lines: int
    units: int
    editors: dict[str, int]
    """Pictures by editor."""
    rows: int | None
    """UNet forwards: pictures x steps x rows of an edit; of a pipeline steps, whatever it does in one, and
    null where its steps are its own and not known yet: `doctor` finds them."""
    gpu_hours: float | None
    """At the rows per second given; null where none are."""
    gpus: float
    cost: float | None
    """In the currency of the price."""

    @property
    def hours(self) -> float | None:
        return None if self.gpu_hours is None else self.gpu_hours / self.gpus

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self) | {"hours": self.hours}

    def facts(self) -> dict[str, Any]:
        """For a person."""
        return {
            "pictures": self.pictures,
            "duplicates": self.duplicates,
            "bad lines": self.bad_lines,
            "units": self.units,
            "editors": ", ".join(f"{name} {count}" for name, count in self.editors.items()),
            "rows": self.rows,
            "time": None
            if self.hours is None
            else f"{in_hours(self.hours)} on {counted(self.gpus, 'worker')}",
            **({} if self.cost is None else {"cost": f"{self.cost:,.2f}"}),
        }


def estimate_edits(
    config: Edits,
    listed: Listed,
    rows_per_s: float | None = None,
    gpus: int | None = None,
    price: float | None = None,
) -> EditOutlook:
    """Units, rows, hours and cost of a whole run, on `gpus` or as many as `compute.max_workers` hold."""
    recipe, compute = config.recipe, config.compute
    editors: dict[str, int] = {}
    rows = 0
    for item in listed.items:
        editors[item.editor] = editors.get(item.editor, 0) + 1
        rows += rows_of(recipe, item)
    units = -(-len(listed.items) // recipe.unit_images)
    pipeline = recipe.diffusers
    # What pinning left open has no steps, and counts as one.
    is_open = pipeline is not None and pipeline.steps is None and not pipeline.model.files
    unknown = is_open and DiffusersPipeline.NAME in editors
    hours = rows / rows_per_s / 3600 if rows_per_s and not unknown else None
    workers = float(min(gpus or compute.max_workers * (compute.gpus_per_worker or 1), units))
    return EditOutlook(
        pictures=len(listed.items),
        duplicates=listed.duplicates,
        bad_lines=len(listed.bad),
        units=units,
        editors=editors,
        rows=None if unknown else rows,
        gpu_hours=hours,
        gpus=int(workers) if workers == int(workers) else workers,
        cost=None if hours is None or price is None else hours * price,
    )


def rows_of(recipe: EditRecipe, item: EditItem) -> int:
    """UNet forwards of one edit; of a pipeline its steps, or 1 where they are its own."""
    settings = recipe.of(item.editor)
    assert settings is not None
    return settings.rows_of(item.strength)
