"""What the engine is asked for: latents to sample, what the network is told of each, what comes back.

A *row* is one forward of the network for one latent under one conditioning. Requests of every kind share a
batch: a pair is two latents of two rows, an edit one latent of three, an inversion one of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from factory.engine.attention.cross import CrossAttention
from factory.engine.attention.layer import Layer
from factory.engine.attention.local_blend import LocalBlend
from factory.pictures import Picture
from schemas.candidate import Scores


@dataclass(frozen=True)
class Row:
    """What one row is told."""

    prompt: str | None
    """None where the prompt is withheld."""
    sees_picture: bool = False
    """Whether it is shown the request's picture; zeros stand in its place otherwise."""


@dataclass(frozen=True)
class Guided:
    """One latent: its rows from the least told to the most, and how they are joined."""

    rows: tuple[Row, ...]
    scales: tuple[float | tuple[float, ...], ...] = ()
    """One less than rows: rows[0] + scales[0] (rows[1] - rows[0]) + scales[1] (rows[2] - rows[1]) ...; one
    that changes has a value for each step."""

    def __post_init__(self) -> None:
        if len(self.rows) != len(self.scales) + 1:
            raise ValueError(
                f"guidance: needs a scale between two rows, got {len(self.scales)} for {len(self.rows)}"
            )


@dataclass(frozen=True)
class Start:
    """A latent that a request begins from, at one of its steps, in place of pure noise."""

    latent: Tensor
    """(channel, height, width) at the noise level of that step, of unit variance; clean if `noised`."""
    step: int = 0
    """The first step that is made."""
    noised: bool = False
    """Whether the engine adds that level's noise to it, as SDEdit does."""


class Control(Protocol):
    """Which of a request's own rows use each other's queries and keys, or features."""

    def acts(self, layer: Layer) -> bool:
        """Whether it does in a layer; in all others rows keep to themselves."""

    def route(self, step: int, steps: int) -> Sequence[int]:
        """For each of the request's rows, in order, the one whose it uses."""


@dataclass(frozen=True)
class Request:
    """All latents are sampled side by side, from one noise; a function of the request alone, bit for bit,
    in batches of one shape.
    """

    latents: tuple[Guided, ...]
    seed: int
    """Of all its noise."""
    steps: int
    solver: str = "euler_ancestral"
    """A module of `factory/engine/solvers`; it says in which direction the steps go."""
    start: Start | None = None
    """None begins from pure noise."""
    picture: Tensor | None = None
    """The latent (channel, height, width), unscaled, that rows of an eight-channel editor are shown."""
    control: Control | None = None
    """Of self-attention."""
    features: Control | None = None
    """Of the residual branches of the decoder's residual blocks."""
    cross: CrossAttention | None = None
    """Of cross-attention."""
    blend: LocalBlend | None = None
    """Of its two latents, by word maps of its rows."""
    follows: Tensor | None = None
    """Latents (steps + 1, channel, height, width) that the first one is set to before each step, and at the
    end."""
    returns: Literal["pictures", "scores", "latents"] = "pictures"
    """`scores` are of a pair, pictures included; `latents` are all, (steps + 1, latent, channel, height,
    width), where the first one stands before the first step that was made."""
    levels: tuple[int, ...] | None = None
    """The steps before which latents are returned, in order, the number of steps for the end; None is all.
    """
    shown: tuple[int, ...] | None = None
    """The numbers of the latents that become pictures; None is all."""
    noise_name: str = ""
    """Before the purpose of each piece of noise: programs with equal seeds so have noise of their own."""
    size: tuple[int, int] | None = None
    """Height and width of its latents; None is the engine's own."""
    twin: str | None = None
    """Requests of one name are the same: of those that are asked for together one is made, for all."""

    @property
    def rows(self) -> list[Row]:
        """Those of the first latent, then of the next."""
        return [row for latent in self.latents for row in latent.rows]

    @property
    def first_step(self) -> int:
        """The first one that is made."""
        return self.start.step if self.start else 0

    @property
    def pictured(self) -> tuple[int, ...]:
        """The numbers of the latents that become pictures."""
        return tuple(range(len(self.latents))) if self.shown is None else self.shown

    @property
    def prompts(self) -> list[str]:
        """What the most told row of each latent is told; empty where it is told nothing."""
        return [latent.rows[-1].prompt or "" for latent in self.latents]


@dataclass(frozen=True)
class Finished:
    """A request that was made."""

    request: Request
    pictures: tuple[Picture, ...]
    """One for each latent that is shown; none where latents were asked for."""
    truncated: bool
    """Whether a text encoder that was asked cut a prompt."""
    scores: Scores | None = None
    latents: Tensor | None = None


@dataclass(frozen=True)
class Failed:
    """A request that failed by itself; its batch mates are not touched."""

    request: Request
    reason: str
    truncated: bool
