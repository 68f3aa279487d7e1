"""What `edit` may be told, and what it stores: recipe, list of pictures, what became of each."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field, model_validator

from schemas.arrow import columns_of
from schemas.config import Budget
from schemas.editors import DiffusersPipeline, EditorSettings, Ip2p, P2p, Pnp, Sdedit
from schemas.ledger.layout import Layout
from schemas.record import Record
from schemas.running.pool import Pool


class Output(Record):
    """What an edited picture is stored as."""

    format: Literal["input", "png", "jpeg", "webp"] = "input"
    """`input` is each picture's own, and leaves its key as it is; another one changes the key's ending."""
    quality: int | None = Field(None, ge=1, le=100)
    """Of JPEG (4:4:4) and WEBP, 1..100; ignored for PNG. Null is the picture's own: of a JPEG what its
    tables tell, and a lossless WEBP stays lossless; 95 where that is not known."""
    size: Literal["input", "model"] = "input"
    """`input` brings an edit back to the picture's own width and height; `model` leaves it as it was made.
    """
    mark: bool = False
    """Whether a picture says in its XMP that a model made it: IPTC's digital source type
    compositeWithTrainedAlgorithmicMedia, and this program with the editor and its recipe's hash."""


class EditRecipe(Record):
    """All that decides what is made of a list of pictures."""

    LATER: ClassVar[Mapping[str, Any]] = {"p2p": None, "pnp": None, "diffusers": None}
    images: str = ""
    """The folder or s3:// prefix that pictures are named below; set by `--images`."""
    editor: Literal["ip2p", "sdedit", "p2p", "pnp", "diffusers"] = "ip2p"
    """Of requests that name none."""
    ip2p: Ip2p | None = None
    """Null where no request asks for it."""
    sdedit: Sdedit | None = None
    """Null where no request asks for it."""
    p2p: P2p | None = None
    """The same."""
    pnp: Pnp | None = None
    """The same."""
    diffusers: DiffusersPipeline | None = None
    """Null where no request asks for it."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Root of the noise of every request that names no seed of its own."""
    size_px: int = Field(512, ge=8, le=4096)
    """What a picture's longer side is brought to before it is edited, up to the rounding of its bucket
    (`factory/edits/sizes.py`)."""
    output: Output = Output()
    """What is stored."""
    on_existing: Literal["skip", "fail"] = "skip"
    """What becomes of a picture at whose key something stands that is not this run's: it is left alone, and
    skipped or failed. Never overwritten."""
    unit_images: int = Field(8, ge=1, le=4096)
    """Pictures that one worker edits and commits at once."""

    @model_validator(mode="after")
    def _has_editor(self) -> "EditRecipe":
        if self.of(self.editor) is None:
            raise ValueError(f"editor must be one that is configured here, got {self.editor!r}")
        return self

    def of(self, editor: str) -> EditorSettings | None:
        """The settings of an editor."""
        found: EditorSettings | None = getattr(self, editor)
        return found


class EditCompute(Pool):
    """Where edits are made and how wide; changes the last bits at most."""

    batch_images: int = Field(4, ge=1, le=1024)
    """Edits in one denoising batch at `size_px` squared; in proportion fewer of larger pictures and more of
    smaller ones. Part of the environment."""
    decode_images: int = Field(1, ge=1, le=1024)
    """Pictures decoded at once; part of the environment."""
    pipeline_images: int = Field(1, ge=1, le=256)
    """Edits in one call of a `diffusers` pipeline; more than 1 is done only where each worker finds, on the
    run's first pictures, that it changes nothing. Part of the environment, with what was found."""
    calls_per_worker: int = Field(3, ge=1, le=64)
    """Units in hand at once: while one is edited the next is fetched, and the one before stored."""
    fetchers: int = Field(8, ge=1, le=256)
    """Threads of a worker that read and decode pictures."""
    most_pixels: int = Field(50_000_000, ge=1)
    """A larger picture is not decoded."""

    @property
    def calls(self) -> int:
        return self.calls_per_worker


class Edits(Record):
    """A whole configuration of `edit`."""

    recipe: EditRecipe
    """What is made."""
    compute: EditCompute = EditCompute()
    """Where and how wide."""
    budget: Budget = Budget()
    """When to stop."""


Knob = Literal["image_guidance", "text_guidance", "strength"]
KNOBS: tuple[Knob, ...] = get_args(Knob)
"""Of an editor, what a request may set and a curve may pass through; each has some of them."""


class EditItem(Record):
    """A picture and what is to be done to it: what a plan lists."""

    BESIDE: ClassVar[str] = "request"
    key: str
    """Of the edited picture, below the output."""
    image: str
    """Key of the picture, below `recipe.images`."""
    editor: str
    """As in the recipe."""
    instruction: str | None
    """What to change, for editors that are told so."""
    source_caption: str | None
    """What the picture shows."""
    target_caption: str | None
    """What it should show."""
    seed: int | None
    """Null is drawn from the recipe's, by key."""
    text_guidance: float | None
    """Null is the editor's own; so are the next two."""
    image_guidance: float | None
    strength: float | None

    @property
    def item_id(self) -> str:
        """Tells it from the others."""
        return self.key

    def options(self, settings: EditorSettings) -> dict[str, float]:
        """Guidance and strength, of those that its editor knows: its own, or the editor's."""
        known = [name for name in KNOBS if name in type(settings).model_fields]
        wanted = {
            name: own if (own := getattr(self, name)) is not None else getattr(settings, name)
            for name in known
        }
        return {name: value for name, value in wanted.items() if value is not None}

    @property
    def words(self) -> str:
        """For a message."""
        return self.instruction or self.target_caption or self.image


class Verdict(StrEnum):
    """What may become of a picture."""

    DONE = "done"
    SKIPPED = "skipped"
    """Something that is not this run's stands at its key, and was left alone."""
    FAILED = "failed"


class EditRow(Record):
    """What became of a picture: a row of the results."""

    image: str
    """Key of the picture, below `recipe.images`."""
    key: str
    """Key of the edited picture, below the output."""
    verdict: Verdict
    reason: str | None
    """Why it is not done."""
    sha256: str | None
    """Of the edited picture's file."""
    bytes: int | None
    """Of that file."""
    width: int | None
    """Of the edited picture, pixels."""
    height: int | None
    """The same."""
    image_sha256: str | None
    """Of the picture's file."""
    image_bytes: int | None
    """Of that file."""
    image_width: int | None
    """Of the picture, upright, pixels."""
    image_height: int | None
    """The same."""
    standing_sha256: str | None
    """Of what stood at the key and is not this run's."""
    editor: str
    """As in the recipe."""
    instruction: str | None
    source_caption: str | None
    target_caption: str | None
    """As they were asked for."""
    seed: int
    """Root of its noise."""
    steps: int | None
    """Of the sampler."""
    text_guidance: float | None
    image_guidance: float | None
    strength: float | None
    """What it was edited with, of what its editor knows."""
    model_width: int | None
    """What the network was given, pixels."""
    model_height: int | None
    """The same."""
    truncated: bool
    """Whether the text encoder cut its words."""
    flattened: bool
    """Whether it was transparent somewhere, and was laid over white."""


EDIT = Layout(
    stage="edit",
    version=1,
    items=columns_of(EditItem),
    outcomes=columns_of(EditRow),
    counts=tuple(Verdict),
    marks=("truncated", "flattened"),
    retry="row",
    named=True,
    finishes=True,
    item="picture",
    outcome="picture",
    kept="edit",
)
"""How a run of edits is stored."""


class EditEnvironment(Record):
    """What may change the last bits of an edit, or of its scores; recorded, never part of a recipe."""

    device: str
    """Processor or GPU model."""
    wheels: dict[str, str]
    """Version of each package that computes."""
    batch_images: int
    """As in the configuration."""
    decode_images: int
    """The same."""
    threads: int
    """CPU threads."""
    batching: str | None = None
    """What came of comparing a pipeline's calls for several pictures with its calls for one; null where
    none was asked for."""


NOWHERE = EditEnvironment(device="none", wheels={}, batch_images=0, decode_images=0, threads=0)
"""Of what was never made."""
