"""Settings of editors: each a record of a recipe of edits, and a module of `factory/edits/editors`."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from schemas.recipe import ModelSource, Solver, WordMaps
from schemas.record import Record

Numbers = Literal["float64", "float32", "bfloat16", "float16"]


class Ip2p(Record):
    """InstructPix2Pix: a model with eight input channels, as `fit` trains it, told an instruction."""

    NAME: ClassVar[str] = "ip2p"
    needs: ClassVar[tuple[str, ...]] = ("instruction",)
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
    needs: ClassVar[tuple[str, ...]] = ("target_caption",)
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
    needs: ClassVar[tuple[str, ...]] = ("source_caption", "target_caption")
    maps: WordMaps = WordMaps()
    """What of the cross-attention is the picture's."""
    self_share: float = Field(0.4, ge=0, le=1)
    """Share of the steps in which self-attention is the picture's; raise it where shapes get lost."""
    self_scale: int = Field(4, ge=1, le=64)
    """Self-attention of finer layers is left alone: 4 is 16 x 16 positions at 512 px."""


class Pnp(_Inverting):
    """Plug-and-Play Diffusion Features: the picture's features and self-attention under a new caption."""

    NAME: ClassVar[str] = "pnp"
    needs: ClassVar[tuple[str, ...]] = ("target_caption",)
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


PlainValue = bool | int | float | str | list[float] | None


class DiffusersPipeline(Record):
    """An editing pipeline of diffusers, or of a third party in its form, called as it is."""

    NAME: ClassVar[str] = "diffusers"
    LATER: ClassVar[Mapping[str, Any]] = {"prompt": "instruction"}
    model: ModelSource
    """A pipeline's folder as diffusers stores it, s3:// or hub id: model_index.json or
    modular_model_index.json, and a folder of safetensors for each part."""
    pipeline: str | None = None
    """Its class: a name in diffusers (`FluxKontextPipeline`, or a `ModularPipeline`'s), a third party's as
    `module:Class`, which every worker must be able to import; null is the one that the index names."""
    dtype: Numbers = "bfloat16"
    """Number format of all its parts."""
    prompt: Literal["instruction", "target_caption"] | None = None
    """What its call is told as `prompt`: what to change, or, for classes that make a picture by its
    caption, the caption as it should be. Null is what to change, for classes that are known to take it."""
    steps: int | None = Field(None, ge=1, le=1000)
    """`num_inference_steps` of the call; null is the class's own, and so are the next three: filled in when
    a run is created."""
    text_guidance: float | None = Field(None, ge=0, le=100)
    """`guidance_scale` of the call; `true_cfg_scale` where that has no number of its own."""
    image_guidance: float | None = Field(None, ge=0, le=100)
    """`image_guidance_scale` or `img_guidance_scale` of the call."""
    strength: float | None = Field(None, gt=0, le=1)
    """`strength` of the call."""
    multiple_px: int | None = Field(None, ge=1, le=1024)
    """What a picture's sides are multiples of; null is found by the autoencoder and the network."""
    arguments: dict[str, PlainValue] = {}
    """Further ones of the call by name, such as `negative_prompt`."""

    @property
    def needs(self) -> tuple[str, ...]:
        """As of the others, by its settings."""
        return (self.prompt or "instruction",)

    def rows_of(self, strength: float | None) -> int:
        """Its steps, or 1 where they are its own."""
        return self.steps or 1


TIMESTEPS = 1000
"""That Stable Diffusion was trained with."""
EngineSettings = Ip2p | Sdedit | P2p | Pnp
"""Of an editor that asks the engine."""
EditorSettings = EngineSettings | DiffusersPipeline
EDITORS: dict[str, type[EditorSettings]] = {
    kind.NAME: kind for kind in (Ip2p, Sdedit, P2p, Pnp, DiffusersPipeline)
}
"""By name: a field of the recipe, and a module of `factory/edits`."""
