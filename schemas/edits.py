"""What `edit` may be told, and what it stores: recipe, list of pictures, what became of each."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from schemas.arrow import columns_of
from schemas.config import Budget
from schemas.layout import Layout
from schemas.pool import Pool
from schemas.recipe import ModelSource
from schemas.record import Record

Solver = Literal["euler_ancestral", "ddim", "dpm_solver"]
Numbers = Literal["float64", "float32", "bfloat16", "float16"]


class Ip2p(Record):
    """InstructPix2Pix: a model with eight input channels, as `fit` trains it, told an instruction."""

    NAME: ClassVar[str] = "ip2p"
    NEEDS: ClassVar[tuple[str, ...]] = ("instruction",)
    CHANNELS: ClassVar[int] = 8
    model: ModelSource
    """An editor's folder, `miniature/editor`, s3:// or hub id: Stable Diffusion 1.x, 2.x or XL with eight
    input channels."""
    autoencoder: ModelSource | None = None
    """Another autoencoder in place of the built-in one; null keeps it."""
    dtype: Numbers = "float32"
    """Number format of the networks; the sampler's state is at least float32."""
    solver: Solver = "euler_ancestral"
    """As in `recipe.solver` of `generate`."""
    steps: int = Field(100, ge=1, le=1000)
    """Sampler steps."""
    text_guidance: float = Field(7.5, ge=0, le=100)
    """s_T: how strongly the instruction is followed; raise it where too little changes."""
    image_guidance: float = Field(1.5, ge=0, le=100)
    """s_I: how strongly the picture is kept; lower it where too little changes."""

    @property
    def rows(self) -> int:
        """Of one step of an edit."""
        return 3

    def rows_of(self, strength: float | None) -> int:
        """UNet forwards of an edit."""
        return self.rows * self.steps


class Sdedit(Record):
    """SDEdit: noise is added to the picture, and taken out again under the caption as it should be."""

    NAME: ClassVar[str] = "sdedit"
    NEEDS: ClassVar[tuple[str, ...]] = ("target_caption",)
    CHANNELS: ClassVar[int] = 4
    model: ModelSource
    """A text-to-image model: Stable Diffusion 1.x, 2.x or XL."""
    autoencoder: ModelSource | None = None
    """Another autoencoder in place of the built-in one; null keeps it."""
    dtype: Numbers = "float32"
    """Number format of the networks; the sampler's state is at least float32."""
    solver: Solver = "ddim"
    """As in `recipe.solver` of `generate`."""
    steps: int = Field(50, ge=1, le=1000)
    """Of the whole way from noise; `strength` says how many of them are made."""
    text_guidance: float = Field(7.5, ge=0, le=100)
    """Scale of classifier-free guidance towards the caption; 1 is none."""
    strength: float = Field(0.6, gt=0, le=1)
    """Share of the steps that are made: 1 keeps nothing of the picture."""

    @property
    def rows(self) -> int:
        """Of one step of an edit."""
        return 2

    def rows_of(self, strength: float | None) -> int:
        """UNet forwards of an edit."""
        return self.rows * (self.steps - self.first_step(strength))

    def first_step(self, strength: float | None = None) -> int:
        """The first step that is made at a strength, the own one unless another is named; one always is.

        As diffusers' `get_timesteps`.
        """
        share = self.strength if strength is None else strength
        return min(self.steps - 1, self.steps - int(self.steps * share))


class _Inverting(Record):
    """An editor that first finds the noise that gives the picture, by DDIM, and goes back along its way."""

    CHANNELS: ClassVar[int] = 4
    model: ModelSource
    """A text-to-image model: Stable Diffusion 1.x, 2.x or XL."""
    autoencoder: ModelSource | None = None
    """Another autoencoder in place of the built-in one; null keeps it."""
    dtype: Numbers = "float32"
    """Number format of the networks; the sampler's state is at least float32."""
    steps: int = Field(50, ge=1, le=1000)
    """DDIM steps of the edit."""
    inversion_steps: int = Field(50, ge=1, le=1000)
    """DDIM steps of the inversion, finer or as fine: each step of the edit must be one of its steps, which
    999 has for every number that divides 1000.
    """
    text_guidance: float = Field(7.5, ge=0, le=100)
    """Scale of classifier-free guidance towards the caption as it should be; 1 is none."""

    @model_validator(mode="after")
    def _meets(self) -> Self:
        stride, fine = TIMESTEPS // self.steps, TIMESTEPS // self.inversion_steps
        if stride % fine or 1 + (self.steps - 1) * stride // fine > self.inversion_steps:
            raise ValueError(
                f"inversion_steps must pass every step of {self.steps}, got {self.inversion_steps}; "
                f"{self.steps} do"
            )
        return self

    @property
    def levels(self) -> tuple[int, ...]:
        """Of the inversion's levels those that the edit's steps start from and end at, clean first."""
        times = TIMESTEPS // self.steps // (TIMESTEPS // self.inversion_steps)
        return (0, *(1 + number * times for number in range(self.steps)))

    @property
    def rows(self) -> int:
        """Of one step of an edit: the picture's own, without and with the caption."""
        return 3

    def rows_of(self, strength: float | None) -> int:
        """UNet forwards of an edit."""
        return self.inversion_steps + self.rows * self.steps


class P2p(_Inverting):
    """Prompt-to-Prompt on a picture: its own caption's attention maps, with words changed in them."""

    NAME: ClassVar[str] = "p2p"
    NEEDS: ClassVar[tuple[str, ...]] = ("source_caption", "target_caption")
    words: Literal["auto", "replace", "refine"] = "auto"
    """`replace` gives each changed word the map of the one in its place, for captions of as many words;
    `refine` keeps the maps of words that both have; `auto` takes what fits."""
    cross_share: float = Field(0.8, ge=0, le=1)
    """Share of the steps in which cross-attention maps are the picture's."""
    self_share: float = Field(0.4, ge=0, le=1)
    """Share of the steps in which self-attention is the picture's; raise it where shapes get lost."""
    self_scale: int = Field(4, ge=1, le=64)
    """Self-attention of finer layers is left alone: 4 is 16 x 16 positions at 512 px."""
    new_words: float = Field(1.0, ge=-10, le=10)
    """By what the maps of words are multiplied that only the new caption has."""
    blend: bool = False
    """Whether all stays as it was away from the words that change (local blend)."""
    blend_threshold: float = Field(0.3, ge=0, le=1)
    """Share of the greatest map value from which on a place belongs to a word."""
    blend_scale: int = Field(4, ge=1, le=64)
    """Of the layers whose maps count for that, as `self_scale`."""


class Pnp(_Inverting):
    """Plug-and-Play Diffusion Features: the picture's features and self-attention under a new caption."""

    NAME: ClassVar[str] = "pnp"
    NEEDS: ClassVar[tuple[str, ...]] = ("target_caption",)
    inversion_steps: int = Field(999, ge=1, le=1000)
    """As of `p2p`; the authors take 999."""
    feature_share: float = Field(0.8, ge=0, le=1)
    """Share of the steps in which features are the picture's (tau_f)."""
    attention_share: float = Field(0.5, ge=0, le=1)
    """Share of the steps in which self-attention is (tau_A)."""
    feature_layers: tuple[str, ...] = ("up.1.1",)
    """Residual blocks of the decoder whose branches are the picture's: `up.1.1` is `up_blocks.1.resnets.1`,
    `up.1` all of that block."""
    attention_layers: tuple[str, ...] = ("up.1.1", "up.1.2", "up.2", "up.3")
    """Layers whose self-attention is, likewise."""
    negative_prompt: str = "ugly, blurry, black, low res, unrealistic"
    """What guidance leads away from, in place of the empty prompt."""
    negative_alpha: float | None = Field(None, ge=0, le=1)
    """Share of the empty prompt in what guidance leads away from; null is none, and takes a row less."""
    alpha_schedule: Literal["linear", "constant", "exp"] = "linear"
    """How that share goes on from the first step: to 0, as it is, or as exp(-6 t)."""

    @property
    def rows(self) -> int:
        """Of one step of an edit."""
        return 3 if self.negative_alpha is None else 4


TIMESTEPS = 1000
"""That Stable Diffusion was trained with."""
EngineSettings = Ip2p | Sdedit | P2p | Pnp
"""Of an editor that asks the engine."""
EditorSettings = EngineSettings
EDITORS: dict[str, type[EditorSettings]] = {"ip2p": Ip2p, "sdedit": Sdedit, "p2p": P2p, "pnp": Pnp}
"""By name: a field of the recipe, and a module of `factory/edits`."""


class Output(Record):
    """What an edited picture is stored as."""

    format: Literal["input", "png", "jpeg", "webp"] = "input"
    """`input` is each picture's own, and leaves its key as it is; another one changes the key's ending."""
    quality: int = Field(95, ge=1, le=100)
    """Of JPEG (4:4:4) and WEBP, 1..100; ignored for PNG."""
    size: Literal["input", "model"] = "input"
    """`input` brings an edit back to the picture's own width and height; `model` leaves it as it was made.
    """
    mark: bool = False
    """Whether a picture says in its XMP that a model made it: IPTC's digital source type
    compositeWithTrainedAlgorithmicMedia, and this program with the editor and its recipe's hash."""


class EditRecipe(Record):
    """All that decides what is made of a list of pictures."""

    LATER: ClassVar[Mapping[str, Any]] = {"p2p": None, "pnp": None}
    images: str = ""
    """The folder or s3:// prefix that pictures are named below; set by `--images`."""
    editor: Literal["ip2p", "sdedit", "p2p", "pnp"] = "ip2p"
    """Of requests that name none."""
    ip2p: Ip2p | None = None
    """Null where no request asks for it."""
    sdedit: Sdedit | None = None
    """Null where no request asks for it."""
    p2p: P2p | None = None
    """The same."""
    pnp: Pnp | None = None
    """The same."""
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
    """What may change the last bits of an edit; recorded, never part of the recipe."""

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


NOWHERE = EditEnvironment(device="none", wheels={}, batch_images=0, decode_images=0, threads=0)
"""Of what was never made."""
