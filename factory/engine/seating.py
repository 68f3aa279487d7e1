"""Which rows of a batch belong together, as indices on its device, and where each request stands."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import torch
from torch import Tensor

from factory.engine.attention.cross import EditedMap
from factory.engine.request import Control, Request
from factory.engine.solvers.solver import Levels, Road, Solver
from factory.engine.staging import ahead, ahead_into


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


class Seating:
    """Of a batch of so many rows; laid out anew after a request came or went."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.changed = True
        self.walks: list[Walk] = []
        self.latent_of = self.rungs = self.scales = torch.empty(0)
        """The place of each row's latent (row,); and of `guide`, by places."""
        self._scales = torch.empty(0)
        self._changing = False
        """Whether any scale is not the same at every step."""
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
        self._scales = torch.zeros(most - 1, self.rows)
        self._changing = True
        self._stage_scales(slots, device)
        solvers = {id(slot.solver): slot.solver for slot in slots}
        self.walks = [
            self._walk(solver, [slot for slot in slots if slot.solver is solver], device)
            for solver in solvers.values()
        ]
        self.changed = False

    def _stage_scales(self, slots: Sequence[Slot], device: torch.device) -> None:
        """Those of the step that comes."""
        if not self._changing:
            return
        self._changing = False
        for slot in slots:
            for latent, first in zip(slot.request.latents, slot.latents, strict=True):
                for number, scale in enumerate(latent.scales):
                    if isinstance(scale, tuple):
                        self._changing = True
                        scale = scale[slot.step]
                    self._scales[number, first] = scale
        self.scales = ahead(self._scales.clone(), device)

    @staticmethod
    def _walk(solver: Solver, slots: list[Slot], device: torch.device) -> Walk:
        places = torch.tensor([place for slot in slots for place in slot.latents])
        numbers = torch.tensor([n for n, slot in enumerate(slots) for _ in slot.latents])
        return Walk(solver, slots, ahead(places, device), ahead(numbers, device))

    def stage(self, slots: Sequence[Slot], device: torch.device) -> tuple[Levels, Tensor]:
        """Of the step that comes: noise levels and timestep of each latent at its place, float64."""
        self._stage_scales(slots, device)
        numbers = torch.ones(4, self.rows, dtype=torch.float64)
        for slot in slots:
            sigmas, step = slot.road.sigmas, slot.step
            last = max(step - 1, slot.request.first_step)
            here = (sigmas[step], sigmas[step + 1], sigmas[last], slot.road.timesteps[step])
            numbers[:, slot.latents] = torch.stack(here)[:, None]
        on_device = ahead(numbers, device)
        return Levels(*on_device[:3]), on_device[3]

    def routes(self, slots: Sequence[Slot], layers: int, device: torch.device) -> Tensor:
        """Of the step that comes: the row whose queries and keys each uses, int64 (layer, row)."""
        asked = [(s, s.request.control, s.acting) for s in slots]
        return self._routes("attention", asked, layers, device)

    def features(self, slots: Sequence[Slot], layers: int, device: torch.device) -> Tensor | None:
        """The same of features; None where nobody asks for them."""
        asked = [(s, s.request.features, s.injecting) for s in slots if s.request.features]
        return self._routes("features", asked, layers, device) if asked else None

    def _routes(
        self,
        name: str,
        asked: Sequence[tuple[Slot, Control | None, Tensor]],
        layers: int,
        device: torch.device,
    ) -> Tensor:
        routes = torch.arange(self.rows).repeat(layers, 1)
        for slot, control, acting in asked:
            if control is not None:
                to = control.route(slot.step, len(slot.road))
                lenders = torch.tensor([slot.places[row] for row in to])
                own = torch.tensor(slot.places)
                routes[:, own] = torch.where(acting[:, None], lenders, own)
        if name not in self._buffers:
            self._buffers[name] = torch.empty_like(routes, device=device)
        ahead_into(self._buffers[name], routes)
        return self._buffers[name]
