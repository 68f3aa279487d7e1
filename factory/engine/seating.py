"""Which rows of a batch belong together, as indices on its device, and where each request stands."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from factory.engine.attention.cross import EditedMap
from factory.engine.request import Control, Request
from factory.engine.solvers.solver import Levels, Road, Solver
from factory.engine.staging import ahead, ahead_into, locked


@dataclass(kw_only=True)
class Slot:
    """A request in the batch, where its rows are, and how far it is."""

    request: Request
    solver: Solver
    road: Road
    places: list[int]
    """Of its rows, in their order."""
    latents: list[int]
    """Of its latents: the places of their first rows."""
    step: int
    follows: Tensor | None
    """The request's, on the device."""
    acting: Tensor
    """Bool (layer,): whether its control acts in each self-attention layer."""
    injecting: Tensor
    """The same of its features."""
    edited: EditedMap | None
    """Of its cross-attention."""
    noise: "Future[Tensor] | None" = None
    """Of the step that comes."""
    kept: list[Tensor] = field(default_factory=list)
    """Its latents before each step, where they were asked for."""
    maps: Tensor | None = None
    """Word maps of a blend's two rows, summed over the steps so far (2, height, width)."""


@dataclass(frozen=True)
class Walk:
    """All requests of one solver."""

    solver: Solver
    slots: list[Slot]
    places: Tensor
    """Of their latents, int64 (latent,)."""
    slot_of: Tensor
    """For each of these latents the number of its request among `slots`."""


@dataclass(frozen=True)
class Staged:
    """What a step is told beside its latents; on the host, where the device takes it by itself."""

    numbers: Tensor
    """Of each place noise level, the next and the last one, and timestep: float64 (4, row)."""
    scales: Tensor | None
    """Of `guide`; None where those of the step before hold."""
    attention: Tensor | None
    """The row whose queries and keys each uses, int64 (layer, row); None of a batch without controls."""
    features: Tensor | None
    """The same of features; None where nobody asks for them."""


@dataclass(frozen=True)
class Told:
    """The same on the device."""

    levels: Levels
    timestep: Tensor
    """Float64 (row,)."""
    attention: Tensor | None
    """In memory that stays, as the next."""
    features: Tensor | None


class Seating:
    """Of a batch of so many rows; laid out anew after a request came or went."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.changed = True
        self.walks: list[Walk] = []
        self.latent_of = self.rungs = self.scales = torch.empty(0)
        """The place of each row's latent (row,); and of `guide`, by places."""
        self._rungs = 1
        self._scaled = False
        """Whether the scales on the device are those of every step that comes."""
        self._buffers: dict[str, Tensor] = {}
        """Routes on the device, where they stay: what is captured or compiled reads the same memory."""

    def lay_out(self, slots: Sequence[Slot], device: torch.device) -> None:
        """Who is where."""
        own = torch.arange(self.rows)
        most = max(
            (len(latent.rows) for slot in slots for latent in slot.request.latents), default=1
        )
        latent_of, rungs = own.clone(), own.repeat(most, 1)
        for slot in slots:
            places = iter(slot.places)
            for latent, first in zip(slot.request.latents, slot.latents, strict=True):
                mine = [next(places) for _ in latent.rows]
                latent_of[mine] = first
                rungs[:, first] = torch.tensor(mine + mine[-1:] * (most - len(mine)))
        self.latent_of, self.rungs = (ahead(each, device) for each in (latent_of, rungs))
        self._rungs, self._scaled = most, False
        solvers = {id(slot.solver): slot.solver for slot in slots}
        self.walks = [
            self._walk(solver, [slot for slot in slots if slot.solver is solver], device)
            for solver in solvers.values()
        ]
        self.changed = False

    @staticmethod
    def _walk(solver: Solver, slots: list[Slot], device: torch.device) -> Walk:
        places = torch.tensor([place for slot in slots for place in slot.latents])
        numbers = torch.tensor([n for n, slot in enumerate(slots) for _ in slot.latents])
        return Walk(solver, slots, ahead(places, device), ahead(numbers, device))

    def work(
        self, slots: Sequence[Slot], layers: tuple[int, int] | None, device: torch.device
    ) -> Callable[[], Staged]:
        """What stages the step that comes, in any thread, while the slots stand where they do now. `layers`
        are those of attention and those of features, None where neither is controlled.
        """
        return partial(_staged, self.rows, tuple(slots), self._scaled, self._rungs, layers, device)

    def take(self, staged: Staged, slots: Sequence[Slot], device: torch.device) -> "Told":
        """Send it to the device."""
        if staged.scales is not None:
            self.scales = ahead(staged.scales, device)
            self._scaled = not any(_is_changing(slot) for slot in slots)
        numbers = ahead(staged.numbers, device)
        return Told(
            Levels(*numbers[:3]),
            numbers[3],
            self._held("attention", staged.attention, device),
            self._held("features", staged.features, device),
        )

    def _held(self, name: str, routes: Tensor | None, device: torch.device) -> Tensor | None:
        if routes is None:
            return None
        if name not in self._buffers:
            self._buffers[name] = torch.empty_like(routes, device=device)
        ahead_into(self._buffers[name], routes)
        return self._buffers[name]


def _staged(
    rows: int,
    slots: Sequence[Slot],
    scaled: bool,  # noqa: FBT001
    rungs: int,
    layers: tuple[int, int] | None,
    device: torch.device,
) -> Staged:
    attention = features = None
    if layers is not None:
        asked = [(s, s.request.control, s.acting) for s in slots]
        attention = locked(_routes(rows, asked, layers[0]), device)
        asked = [(s, s.request.features, s.injecting) for s in slots if s.request.features]
        features = locked(_routes(rows, asked, layers[1]), device) if asked else None
    scales = None if scaled else locked(_scales(rows, slots, rungs), device)
    return Staged(locked(_numbers(rows, slots), device), scales, attention, features)


def _numbers(rows: int, slots: Sequence[Slot]) -> Tensor:
    numbers = torch.ones(4, rows, dtype=torch.float64)
    for slot in slots:
        sigmas, step = slot.road.sigmas, slot.step
        last = max(step - 1, slot.request.first_step)
        here = (sigmas[step], sigmas[step + 1], sigmas[last], slot.road.timesteps[step])
        numbers[:, slot.latents] = torch.stack(here)[:, None]
    return numbers


def _scales(rows: int, slots: Sequence[Slot], rungs: int) -> Tensor:
    scales = torch.zeros(rungs - 1, rows)
    for slot in slots:
        for latent, first in zip(slot.request.latents, slot.latents, strict=True):
            for number, scale in enumerate(latent.scales):
                scales[number, first] = scale[slot.step] if isinstance(scale, tuple) else scale
    return scales


def _is_changing(slot: Slot) -> bool:
    """Whether any of its scales is not the same at every step."""
    return any(isinstance(scale, tuple) for one in slot.request.latents for scale in one.scales)


def _routes(rows: int, asked: Sequence[tuple[Slot, Control | None, Tensor]], layers: int) -> Tensor:
    routes = torch.arange(rows).repeat(layers, 1)
    for slot, control, acting in asked:
        if control is not None:
            to = control.route(slot.step, len(slot.road))
            lenders = torch.tensor([slot.places[row] for row in to])
            own = torch.tensor(slot.places)
            routes[:, own] = torch.where(acting[:, None], lenders, own)
    return routes
