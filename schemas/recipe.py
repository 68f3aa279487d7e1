"""The recipe: everything that decides what is made. Two runs with one recipe make one dataset."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from schemas.canonical import content_hash
from schemas.record import Record

Solver = Literal["euler_ancestral", "ddim", "dpm_solver"]
"""Of the engine's solvers those that a recipe or an editor may ask for; each is a file of
`factory/engine/solvers`."""
STAGE_VERSIONS = {"plan": 1, "seeds": 1, "sampler": 2, "scorer": 1, "codec": 1}
"""Raised by one only when a stage's bytes change."""


class ModelSource(Record):
    """Where weights come from, and, once pinned, which bytes they are."""

    source: str = Field(min_length=1)
    """`miniature`, a local folder, `s3://bucket/prefix`, a hub id `owner/name`, or one `.safetensors`
    file, here or on S3: a LoRA, a CLIP by `name`, a whole checkpoint or an autoencoder of Stable
    Diffusion 1.x or 2.x (CompVis' names). What lies on S3 is fetched once into the user's cache."""
    revision: str | None = None
    """Commit of a hub id, 40 hex digits; required for hub ids, null for all others."""
    name: str | None = None
    """For CLIP: the open_clip architecture where `source` has no open_clip_config.json; OpenAI's own
    weights need `ViT-L-14-quickgelu`. For a checkpoint in one file: its family, `sd-1`, `sd-2-base`
    (predicts noise, 512 px) or `sd-2-v` (predicts v, 768 px); only SD 1.x may leave it out. Else null."""
    files: dict[str, str] = {}
    """Relative file name to sha256 (64 hex digits); filled when a run is created."""

    def hashed(self, plain: dict[str, Any]) -> dict[str, Any]:
        """Without the place that pinned weights were read from."""
        places = ("source", "revision") if self.files else ()
        return {name: value for name, value in plain.items() if name not in places}


class Lora(ModelSource):
    """A LoRA merged into the UNet and the text encoder at load; diffusers' names or kohya's."""

    scale: float = Field(1.0, ge=-4, le=4)
    """Weight of the merge; 0 leaves the model as it is."""


class KeepRule(Record):
    """Which of the passing candidates of one triplet are kept."""

    most: int = Field(4, ge=1, le=1000)
    """At most this many pairs per triplet, best `clip_sim_dir` first, then the higher seed."""


class Thresholds(Record):
    """The CLIP gates; each is inclusive, 0 or less lets nearly everything through."""

    image: float = Field(ge=-1, le=1)
    """Least cosine between the two images."""
    text: float = Field(ge=-1, le=1)
    """Least cosine between each image and its own prompt."""
    direction: float = Field(ge=-1, le=1)
    """Least cosine between the change of image and the change of prompt."""
    borderline: float = Field(0.0, ge=0, le=1)
    """Scores this close to a threshold are marked borderline; 0 marks none."""


class Codec(Record):
    """How pixels become bytes; deterministic, without timestamps or EXIF."""

    format: Literal["png", "jpeg"] = "png"
    """`png` is lossless; `jpeg` is 4:4:4."""
    quality: int = Field(100, ge=1, le=100)
    """JPEG quality, 1..100; ignored for PNG."""


class WordMaps(Record):
    """Prompt-to-Prompt's edits of cross-attention: the original's maps under another caption."""

    LATER: ClassVar[Mapping[str, Any]] = {"weights": {}}

    words: Literal["auto", "refine"] = "auto"
    """`auto` gives each changed word the map of the one in its place where the captions have as many words
    (replace); `refine`, as `auto` with others, keeps the maps of what both say."""
    share: float = Field(0.8, ge=0, le=1)
    """Share of the steps in which the maps are the original's."""
    new_words: float = Field(1.0, ge=-10, le=10)
    """By what the maps of words are multiplied that only the new caption has."""
    weights: dict[str, Annotated[float, Field(ge=-10, le=10)]] = {}
    """By what the map of a single word of the new caption is multiplied in place of `new_words`, as
    `{snowy: 2}` (reweight). Words are in small letters, with the punctuation that follows them; one that a
    caption does not have changes nothing."""
    blend: bool = False
    """Whether all stays as it was away from the words that change (local blend)."""
    blend_threshold: float = Field(0.3, ge=0, le=1)
    """Share of the greatest map value from which on a place belongs to a word."""
    blend_scale: int = Field(4, ge=1, le=64)
    """Of the layers whose maps count: latents to a side of one of their positions; 4 is 16 x 16 positions
    at 512 px."""

    @field_validator("weights")
    @classmethod
    def _words(cls, weights: dict[str, float]) -> dict[str, float]:
        for word in weights:
            if word.split() != [word] or word != word.lower():
                raise ValueError(f"a weight must be of one word in small letters, got {word!r}")
        return weights


class Recipe(Record):
    """All that decides the bytes of a dataset, and nothing else."""

    LATER: ClassVar[Mapping[str, Any]] = {"cross": None}

    run_seed: int = Field(0, ge=0, lt=2**63)
    """Root of every random draw."""
    text_to_image: ModelSource
    """UNet, text encoder, tokenizer, autoencoder and noise schedule."""
    autoencoder: ModelSource | None = None
    """Another autoencoder in place of the built-in one; null keeps it."""
    loras: tuple[Lora, ...] = ()
    """Merged in this order."""
    clip: ModelSource
    """The model behind the four similarities."""
    dtype: Literal["float64", "float32", "bfloat16", "float16"] = "float32"
    """Number format of the networks; the sampler's state is at least float32."""
    solver: Solver = "euler_ancestral"
    """The sampler; `euler_ancestral` is the paper's, `dpm_solver` DPM-Solver++(2M), takes some 20 steps."""
    steps: int = Field(100, ge=1, le=1000)
    """Sampler steps."""
    p: tuple[float, float] = (0.1, 0.9)
    """Range of the Prompt-to-Prompt threshold: share of steps with shared self-attention, 0..1."""
    guidance: tuple[float, float] = (7.5, 15.0)
    """Range of the classifier-free guidance scale; 1 is no guidance."""
    attention: Literal["self", "none"] = "self"
    """`self` shares all self-attention maps as InstructPix2Pix does; `none` shares only noise."""
    cross: WordMaps | None = None
    """Whether cross-attention maps are edited as the original Prompt-to-Prompt does, beside the
    self-attention or alone; null leaves them alone, as InstructPix2Pix does."""
    candidates: int = Field(100, ge=1, le=10_000)
    """Candidates per triplet."""
    keep: KeepRule = KeepRule()
    """Which passing candidates become pairs."""
    thresholds: Thresholds
    """The CLIP gates."""
    size_px: int = Field(512, ge=8, le=4096)
    """Side of the square images, a multiple of the autoencoder's factor."""
    codec: Codec = Codec()
    """How images are stored."""
    unit_triplets: int = Field(4, ge=1, le=4096)
    """Triplets that one worker makes and commits at once."""
    stage_versions: dict[str, int] = Field(default_factory=lambda: dict(STAGE_VERSIONS))
    """One integer per stage of the program that began the run; set by it. Any can be read, and only a
    run of this program's can be gone on with."""

    @model_validator(mode="after")
    def _ranges(self) -> "Recipe":
        if not 0 <= self.p[0] <= self.p[1] <= 1:
            raise ValueError(f"p must be a range within 0..1, got {list(self.p)}")
        if not 0 <= self.guidance[0] <= self.guidance[1] <= 100:
            raise ValueError(f"guidance must be a range within 0..100, got {list(self.guidance)}")
        return self

    @property
    def recipe_hash(self) -> str:
        """sha256 of the identity, 64 hex digits."""
        return content_hash(self.identity())
