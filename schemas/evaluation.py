"""What `evaluate` may be told, and what it stores: recipe, list of edits, what became of each."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from schemas.arrow import columns_of
from schemas.config import Budget
from schemas.editors import EditorSettings
from schemas.edits import KNOBS, EditCompute, EditItem, EditRecipe, Knob
from schemas.ledger.layout import Layout
from schemas.recipe import ModelSource, Thresholds
from schemas.record import Record
from schemas.training.fit import Columns


class Sweep(Record):
    """The settings that a curve passes through; all else stays as its editor has it."""

    parameter: Knob
    """Of the editor: `image_guidance` is the paper's s_I."""
    values: tuple[float, ...] = Field(min_length=1)
    """In the order in which they are joined."""

    @model_validator(mode="after")
    def _distinct(self) -> "Sweep":
        if len(set(self.values)) < len(self.values):
            raise ValueError(f"values must be distinct, got {list(self.values)}")
        return self


class Entrant(Record):
    """One editor under the name that tables and plots give it; several may be of one kind."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,39}$")
    """Such as `ip2p`, or `tenth` for one that was trained on a tenth of the data."""
    edits: EditRecipe
    """As `edit` takes it; its `editor` is the one that is judged."""
    sweep: Sweep | None = None
    """Null is one point, at the editor's own settings."""

    @property
    def settings(self) -> EditorSettings:
        """Of its editor."""
        found = self.edits.of(self.edits.editor)
        assert found is not None
        return found

    @property
    def points(self) -> tuple[dict[str, float | None], ...]:
        """The settings at which it is judged: of each parameter a value, or null for the editor's own."""
        own: dict[str, float | None] = dict.fromkeys(KNOBS)
        if self.sweep is None:
            return (own,)
        return tuple({**own, self.sweep.parameter: value} for value in self.sweep.values)

    @model_validator(mode="after")
    def _has_parameter(self) -> "Entrant":
        if self.sweep is None:
            return self
        name, settings = self.sweep.parameter, self.settings
        # What a pipeline leaves to its class is null until a run begins.
        if name not in type(settings).model_fields:
            raise ValueError(f"sweep must be over a setting of {self.edits.editor}, got {name}")
        for value in self.sweep.values:
            # Whatever the editor's own field allows.
            type(settings).model_validate(settings.model_dump() | {name: value})
        return self


class HeldOut(Record):
    """The pictures and instructions that editors are judged on."""

    LATER: ClassVar[Mapping[str, Any]] = {"first": 0}
    kind: Literal["miniature", "dataset", "requests"] = "miniature"
    """`miniature` draws scenes by captions that no model was trained on, and lets the oracle judge;
    `dataset` reads pairs as `fit` does; `requests` a list as `edit` does."""
    source: str = ""
    """The dataset or the list; empty for `miniature`."""
    images: str = ""
    """Of requests, what keys lie below; empty is the list's folder."""
    files: str | None = None
    """Of a dataset, as `reading.files` of `fit`: `test-*`."""
    columns: Columns = Columns()
    """Of a dataset."""
    held_out: float = Field(0.0, ge=0, lt=1)
    """Of a dataset the share of prompts that a training with this `reading.held_out` never saw; 0 takes
    those of all its files."""
    first: int = Field(0, ge=0)
    """Number of the first picture: whoever chose settings on some pictures judges on others."""
    count: int = Field(300, ge=1)
    """Pictures, from that one on: of a dataset's prompts by their hash, one of each."""
    digest: str = ""
    """sha256 over the pictures' names, the instructions and the captions; filled when a run is begun."""
    dataset: str = ""
    """Of a dataset the sha256 under which the run holds its index; filled as well."""

    def hashed(self, plain: dict[str, Any]) -> dict[str, Any]:
        """Without the places, once it is known what lies there."""
        places = ("source", "images", "files") if self.digest else ()
        return {name: value for name, value in plain.items() if name not in places}


class EvaluationRecipe(Record):
    """All that decides what is measured, and nothing else."""

    entrants: tuple[Entrant, ...] = Field(min_length=1)
    """The editors; the first is the one that the others are compared with."""
    held_out: HeldOut = HeldOut()
    """What they are judged on."""
    attempts: int = Field(1, ge=1, le=1000)
    """Edits of each picture at each setting, with noise of their own."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Root of all noise; at 0 that of the first attempt is the picture's number, as training edits."""
    clip: ModelSource
    """The model behind the four similarities."""
    gates: Thresholds | None = None
    """What an edit must reach to pass; null counts none as passing or not."""
    lpips: ModelSource | None = None
    """LPIPS with AlexNet: a `.safetensors` file of the `lpips` package's state; null leaves it out."""
    dino: ModelSource | None = None
    """A folder of a transformers ViT, such as DINO's ViT-B/8; null leaves its measure out."""
    unit_edits: int = Field(16, ge=1, le=4096)
    """Edits that one worker makes, scores and commits at once."""

    @model_validator(mode="after")
    def _names(self) -> "EvaluationRecipe":
        names = [entrant.name for entrant in self.entrants]
        if len(set(names)) < len(names):
            raise ValueError(f"entrants must have names of their own, got {', '.join(names)}")
        return self

    @classmethod
    def known(cls, recipe: Any) -> "EvaluationRecipe":
        """A run's, which may be plain JSON where it was opened by who knew no stage."""
        return recipe if isinstance(recipe, cls) else cls.read(recipe)

    def of(self, name: str) -> Entrant:
        """An entrant by its name."""
        return next(entrant for entrant in self.entrants if entrant.name == name)


class Evaluation(Record):
    """A whole configuration of a curve."""

    recipe: EvaluationRecipe
    """What is measured."""
    compute: EditCompute = EditCompute()
    """Where and how wide."""
    budget: Budget = Budget()
    """When to stop."""


class EvaluationItem(Record):
    """One attempt of one editor at one setting on one picture: what a plan lists."""

    BESIDE: ClassVar[str] = "request"
    entrant: str
    """Its name."""
    text_guidance: float | None
    image_guidance: float | None
    strength: float | None
    """Null is the editor's own."""
    number: int = Field(ge=0)
    """Of the picture among those held out."""
    picture: str
    """What tells it from the others where it lies."""
    attempt: int = Field(ge=0)
    seed: int
    """Root of its noise."""
    kind: str | None
    """Of the edit, where that is known."""
    instruction: str | None
    source_caption: str | None
    target_caption: str | None
    """As in an `EditItem`."""

    @property
    def point(self) -> str:
        """The setting at which its editor is asked, in words."""
        return point_name(self.model_dump())

    @property
    def item_id(self) -> str:
        """Tells it from the others."""
        return f"{self.entrant} {self.point} {self.number} {self.attempt}"

    @property
    def words(self) -> str:
        """For a message."""
        return self.instruction or self.target_caption or self.picture

    def asked(self, editor: str) -> EditItem:
        """What an editor is told."""
        shared = EditItem.model_fields.keys() & type(self).model_fields.keys()
        given: dict[str, Any] = dict.fromkeys(EditItem.model_fields)
        given |= {name: getattr(self, name) for name in shared}
        return EditItem(**given | {"key": self.item_id, "image": self.picture, "editor": editor})


def point_name(setting: Mapping[str, float | None]) -> str:
    """Such as `image_guidance=1.2`; `own` where all is the editor's own."""
    set_ = [f"{name}={setting[name]:g}" for name in KNOBS if setting[name] is not None]
    return ",".join(set_) or "own"


class Verdict(StrEnum):
    """What may become of an edit."""

    SCORED = "scored"
    FAILED = "failed"


class EvaluationRow(Record):
    """What became of an edit; a measure that needs what was not given is null."""

    entrant: str
    number: int
    picture: str
    attempt: int
    seed: int
    kind: str | None
    """As they were asked for."""
    text_guidance: float | None
    image_guidance: float | None
    strength: float | None
    """As they were asked for: null is the editor's own."""
    verdict: Verdict
    reason: str | None
    """Why it has no scores."""
    truncated: bool
    """Whether the text encoder cut its words."""
    picture_sha256: str | None
    """Over the pixels of the picture before, as it was read."""
    clip_sim_0: float | None
    """Cosine of the picture before and its caption."""
    clip_sim_1: float | None
    """Cosine of the edit and the caption that it should have."""
    clip_sim_dir: float | None
    """Cosine of the change of picture and the change of caption: CLIP's directional similarity."""
    clip_sim_image: float | None
    """Cosine of the two pictures: CLIP's image similarity."""
    l1: float | None
    """Mean absolute difference of the two pictures' channels, 0..1."""
    lpips: float | None
    """Perceptual distance of the two pictures, 0 or more."""
    dino: float | None
    """Mean squared difference of the two pictures' self-similarities, 0..4."""
    edit_done: bool | None
    """Whether the oracle reads the edit as its caption says; the next five are its, too."""
    rest_kept: bool | None
    """Whether it reads all else as it was."""
    place_kept: bool | None
    """Whether the shape's centre is where it was, within 4 px; a part of that."""
    true: bool | None
    """Both."""
    unchanged: bool | None
    """Whether the edit still reads as the picture before."""
    unreadable: bool | None
    """Whether it shows no scene any more."""


SCORES = ("clip_sim_0", "clip_sim_1", "clip_sim_dir", "clip_sim_image", "l1", "lpips", "dino")
"""Measures of which means are taken."""
WORDS = ("edit_done", "rest_kept", "place_kept", "true", "unchanged", "unreadable")
"""The oracle's, of which shares are."""

EVALUATE = Layout(
    stage="evaluate",
    version=2,
    items=columns_of(EvaluationItem),
    outcomes=columns_of(EvaluationRow),
    counts=tuple(Verdict),
    marks=("truncated",),
    retry="row",
    finishes=True,
    item="edit",
    outcome="edit",
    kept="scored edit",
)
"""How a run of `evaluate` is stored."""


class Side(Record):
    """An edit on a page that people compare."""

    entrant: str
    text_guidance: float | None
    image_guidance: float | None
    strength: float | None


class Question(Record):
    """Two edits of one picture, side by side."""

    question: str = Field(pattern=r"^[0-9a-f]{16}$")
    """Its name on the page, which tells nothing of the editors."""
    number: int = Field(ge=0)
    """Of the picture among those held out."""
    left: Side
    right: Side


class Key(Record):
    """Who is on which side of a page; whoever answers must not see it."""

    version: int = 1
    page: str
    """Name of the page, 16 hex digits."""
    recipe: str
    """Hash of the evaluation's recipe."""
    questions: tuple[Question, ...]


class Answers(Record):
    """What somebody found on a page, as it is downloaded there."""

    page: str = Field(max_length=64)
    """Name of the page."""
    sheet: str = Field(pattern=r"^[0-9a-f-]{8,64}$")
    """Random name of this person's copy, so that one that is read twice counts once."""
    answers: dict[str, Literal["left", "right", "neither"]] = Field(max_length=100_000)
    """By question; those that were passed over are not there."""
