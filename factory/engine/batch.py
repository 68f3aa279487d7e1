"""The resident batch: a fixed number of rows, requests of any kinds beside each other.

Every step moves each request by one step of its own; one that is done leaves, and the next takes its
place, so that the batch never waits for its slowest member. Shapes never change, because kernels change
with shape: rows that nobody holds are padding.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from factory.engine.attention.cross import CrossState, EditedMap
from factory.engine.attention.routing import Router, Sharing
from factory.engine.denoiser import Conditioning, Denoiser
from factory.engine.networks import Networks
from factory.engine.request import Request
from factory.engine.seating import Seating, Slot, Staged, Told, Walk
from factory.engine.solvers import solver_of
from factory.engine.solvers.noise import NoiseLaw, hashed_noise
from factory.engine.solvers.solver import Levels
from factory.engine.staging import ahead, ahead_into, locked
from factory.engine.text.encoder import conditioning


class Batch:
    """The rows and their state; `advance` moves each request by one step. Not thread-safe.

    `size` is the height and width of a latent. `controlled` is False for a network whose attention must not
    be touched, since it is in training; requests with a control are refused then.
    """

    def __init__(
        self,
        networks: Networks,
        size: tuple[int, int],
        rows: int,
        *,
        noise: NoiseLaw = hashed_noise,
        controlled: bool = True,
    ) -> None:
        self.networks = networks
        self.noise = noise
        self.shape = (networks.autoencoder.channels, size[0], size[1])
        self.denoise = Denoiser(networks.unet, networks.schedule)
        self.router = Router.of(networks.unet) if controlled else None
        self.slots: list[Slot] = []
        self._free = list(range(rows))
        # The state keeps at least float32, whatever the networks compute in.
        self.dtype = torch.promote_types(networks.dtype, torch.float32)
        self.x = self._empty(rows)
        self._last = self._empty(rows)
        """Predictions of the step before, for solvers that take them."""
        self.conditioning = self._nothing(rows)
        tokens = self.conditioning.context.shape[1]
        self._cross = CrossState(rows, tokens, networks.dtype, networks.device)
        self._seating = Seating(rows)
        # Made ahead, so that the device does not wait for the processor; noise, which takes longest, apart.
        self._noise_thread = ThreadPoolExecutor(1, "editmill-noise")
        self._staging_thread = ThreadPoolExecutor(1, "editmill-staging")
        self._staged: Future[Staged] | None = None
        """Of the step that comes; of no use once a request came or went."""
        self._fresh: list[Future[Tensor] | None] = []
        """The noise of each walk in it."""

    @property
    def rows(self) -> int:
        """How many there are, held or not."""
        return len(self.x)

    @property
    def rows_held(self) -> int:
        """How many carry a request."""
        return self.rows - len(self._free)

    def fits(self, request: Request) -> bool:
        """Whether as many rows are free."""
        return len(request.rows) <= len(self._free)

    def check(self, request: Request) -> None:
        """Raise `ValueError` for what no batch of this network and size can hold."""
        picture = self.conditioning.picture is not None
        if len(request.rows) > self.rows:
            raise ValueError(
                f"request: must have at most {self.rows} rows, got {len(request.rows)}"
            )
        if picture != (request.picture is not None):
            wanted, got = ("a picture", "none") if picture else ("no picture", "one")
            raise ValueError(f"request: must have {wanted} for this network, got {got}")
        controls = (request.control, request.features, request.cross, request.blend)
        if self.router is None and any(control is not None for control in controls):
            raise ValueError("request: attention of this batch cannot be controlled")
        if request.blend and request.blend.scale not in self._scales():
            raise ValueError(
                f"blend: must be of a scale that this network attends at, got {request.blend.scale}"
            )
        solver_of(request.solver)

    def admit(self, request: Request) -> Slot:
        """Give a request that fits its rows: all of its latents start from one noise."""
        solver = solver_of(request.solver)
        road = solver.road(self.networks.schedule, request.steps)
        places = [self._free.pop(0) for _ in request.rows]
        firsts, first = [], 0
        for latent in request.latents:
            firsts.append(places[first])
            first += len(latent.rows)
        follows = None if request.follows is None else ahead(request.follows, self.x.device)
        acting, injecting = self._acting(request)
        slot = Slot(
            request=request,
            solver=solver,
            road=road,
            places=places,
            latents=firsts,
            step=request.first_step,
            follows=follows,
            acting=acting,
            injecting=injecting,
            edited=self._edited(request),
        )
        # In its place before anything can fail, so that whoever asked hears of it.
        self.slots.append(slot)
        self._seating.changed = True
        with torch.inference_mode():
            start = self._start(slot)
            for place in slot.latents:
                self.x[place] = start
            self._tell(slot)
        self._begin_noise(slot)
        return slot

    def _acting(self, request: Request) -> tuple[Tensor, Tensor]:
        """In which layers its controls of attention and of features act; the network is opened for them."""
        router = self.router
        if router is None:
            return torch.zeros(0, dtype=torch.bool), torch.zeros(0, dtype=torch.bool)
        if request.features is not None:
            router.open_features()
        if request.cross is not None or request.blend is not None:
            router.open_cross()
        acting, injecting = (
            torch.tensor([control is not None and control.acts(layer) for layer in layers])
            for control, layers in (
                (request.control, router.layers),
                (request.features, router.feature_layers),
            )
        )
        return acting, injecting

    def _edited(self, request: Request) -> EditedMap | None:
        text = self.networks.text
        with text.tokenizing:
            return EditedMap(request.cross, text.tokenizer) if request.cross else None

    def _scales(self) -> set[int]:
        return {layer.scale for layer in self.router.layers} if self.router else set()

    def _start(self, slot: Slot) -> Tensor:
        request, level = slot.request, slot.road.sigmas[slot.step]
        start = request.start
        if start is None:
            return ahead(self._noise(request, "start") * slot.road.start_scale, self.x.device)
        latent = ahead(start.latent, self.x.device).to(self.dtype)
        if start.noised:
            return latent + ahead(self._noise(request, "start"), self.x.device) * float(level)
        return latent * float((1 + level**2).sqrt())

    def _noise(self, request: Request, purpose: str) -> Tensor:
        return self.noise(request.seed, request.noise_name + purpose, self.shape).to(self.dtype)

    def _tell(self, slot: Slot) -> None:
        """What each row is told, which stays as it is until the request leaves."""
        text, given, picture = self.networks.text, self.conditioning, slot.request.picture
        if given.picture is not None and picture is not None:
            picture = ahead(picture, self.x.device).to(given.picture)
        for place, row in zip(slot.places, slot.request.rows, strict=True):
            words = text.nothing() if row.prompt is None else text.words(row.prompt)
            given.context[place] = words.tokens
            if given.added is not None and words.pooled is not None:
                given.added["text_embeds"][place] = words.pooled
            if given.picture is not None:
                given.picture[place] = picture if picture is not None and row.sees_picture else 0
        if (blend := slot.request.blend) is not None:
            with text.tokenizing:
                columns = blend.words(text.tokenizer)
            for number, column in zip((blend.source_row, blend.edited_row), columns, strict=True):
                ahead_into(self._cross.words[slot.places[number]], column[:, None])

    def _begin_noise(self, slot: Slot) -> None:
        """Begin to make the noise of the step that comes."""
        if slot.solver.noisy:
            slot.noise = self._noise_thread.submit(self._noise, slot.request, str(slot.step))

    def _stage(self) -> Future[Staged]:
        """Begin to stage the step that comes, whose slots all have begun their noise."""
        router, device = self.router, self.x.device
        layers = (len(router.layers), len(router.feature_layers)) if router else None
        self._staged = self._staging_thread.submit(self._seating.work(self.slots, layers, device))
        self._fresh = [
            self._noise_thread.submit(
                _stacked, [slot.noise for slot in walk.slots if slot.noise], device
            )
            if walk.solver.noisy
            else None
            for walk in self._seating.walks
        ]
        return self._staged

    @torch.inference_mode()
    def advance(self) -> list[tuple[Slot, Tensor]]:
        """One step for every request; returns those that are done, and frees their rows. With them their
        latents (latent, channel, height, width) at the road's last level, of unit variance, or those of
        every level, where they were asked for.
        """
        seating = self._seating
        staged = self._staged
        if seating.changed or staged is None:
            seating.lay_out(self.slots, self.x.device)
            staged = self._stage()
        self._follow()
        told = seating.take(staged.result(), self.slots, self.x.device)
        denoised = self._guided(told)
        for walk, fresh in zip(seating.walks, self._fresh, strict=True):
            self._walk(walk, denoised, told.levels, fresh)
        self._blend()
        done: list[tuple[Slot, Tensor]] = []
        for slot in self.slots:
            slot.step += 1
            if slot.step < len(slot.road):
                self._begin_noise(slot)
                continue
            self._arrive(slot)
            latents = self.unit(slot)
            asked = slot.request.returns == "latents"
            if asked and self._is_kept(slot):
                slot.kept.append(latents)
            done.append((slot, torch.stack(slot.kept) if asked else latents))
        for slot, _ in done:
            self._leave(slot)
        if not seating.changed:
            self._stage()
        return done

    def unit(self, slot: Slot) -> Tensor:
        """Its latents where they stand, of unit variance: solvers keep x / sqrt(alpha)."""
        here = torch.stack([self.x[place] for place in slot.latents])
        return here / (1 + slot.road.sigmas[slot.step] ** 2).sqrt()

    def _follow(self) -> None:
        """Set latents that follow others to these, and keep those that were asked for."""
        for slot in self.slots:
            self._arrive(slot)
            if slot.request.returns == "latents" and self._is_kept(slot):
                slot.kept.append(self.unit(slot))

    def _arrive(self, slot: Slot) -> None:
        """Where it stands now, its first latent is the one that it follows."""
        if slot.follows is not None:
            spread = (1 + slot.road.sigmas[slot.step] ** 2).sqrt()
            self.x[slot.latents[0]] = slot.follows[slot.step] * spread

    @staticmethod
    def _is_kept(slot: Slot) -> bool:
        return slot.request.levels is None or slot.step in slot.request.levels

    def _sharing(self, told: Told) -> Sharing | None:
        """What the rows share in the step that comes."""
        if told.attention is None:
            return None
        crossing = [slot for slot in self.slots if slot.request.cross or slot.request.blend]
        for slot in crossing:
            if (cross := slot.request.cross) is not None and slot.edited is not None:
                columns = slot.edited.columns(slot.step, len(slot.road))
                place, source = slot.places[cross.edited_row], slot.places[cross.source_row]
                self._cross.take(place, source, columns)
        blends = (slot.request.blend for slot in crossing)
        return Sharing(
            told.attention,
            told.features,
            self._cross if crossing else None,
            frozenset(blend.scale for blend in blends if blend),
        )

    def _guided(self, told: Told) -> Tensor:
        """The prediction of each latent, at its place."""
        seating, sharing = self._seating, self._sharing(told)
        # Of each row, its latent's.
        rows, sigma, timestep = (
            each.index_select(0, seating.latent_of)
            for each in (self.x, told.levels.sigma, told.timestep)
        )
        with self.router.use(sharing) if self.router and sharing else nullcontext():
            denoised = self.denoise(rows, sigma, timestep, self.conditioning)
        if sharing is not None and sharing.maps:
            self._add_maps(sharing)
        return guide(denoised, seating.rungs, seating.scales)

    def _walk(
        self, walk: Walk, denoised: Tensor, levels: Levels, fresh: Future[Tensor] | None
    ) -> None:
        """One step of all latents of one solver."""
        places, solver = walk.places, walk.solver
        at, predicted = levels.at(places), denoised.index_select(0, places)
        noise = last = None
        if fresh is not None:
            noise = ahead(fresh.result(), self.x.device).index_select(0, walk.slot_of)
        if solver.remembers:
            last = self._last.index_select(0, places)
            first = at.sigma_last == at.sigma
            last = torch.where(first.view(-1, 1, 1, 1), predicted, last)
            self._last.index_copy_(0, places, predicted)
        after = solver.step(self.x.index_select(0, places), predicted, at, noise, last)
        self.x.index_copy_(0, places, after)

    def _add_maps(self, sharing: Sharing) -> None:
        """Word maps of this step to those of the steps before."""
        for slot in self.slots:
            if (blend := slot.request.blend) is None:
                continue
            # Means over layers of one scale: how many there are does not matter, the greatest is made 1.
            found = torch.stack(sharing.maps[blend.scale])
            # A sum over all steps: half precision would lose what comes late.
            found = found.to(torch.promote_types(found.dtype, torch.float32)).mean(0)
            rows = [slot.places[blend.source_row], slot.places[blend.edited_row]]
            height, width = (-(-side // blend.scale) for side in self.shape[1:])
            maps = torch.stack([found[row] for row in rows]).view(2, height, width)
            slot.maps = maps if slot.maps is None else slot.maps + maps

    def _blend(self) -> None:
        """After a step: second latents become the first ones where a blend says so."""
        for slot in self.slots:
            blend = slot.request.blend
            if blend is None or slot.maps is None or not blend.blends(slot.step, len(slot.road)):
                continue
            first, second = slot.latents
            source = self.x[first]
            if slot.follows is not None:
                spread = (1 + slot.road.sigmas[slot.step + 1] ** 2).sqrt()
                source = slot.follows[slot.step + 1] * spread
            mask = blend.mask(slot.maps, (self.shape[1], self.shape[2]))
            self.x[second] = torch.where(mask, self.x[second], source)

    def _leave(self, slot: Slot) -> None:
        self.slots.remove(slot)
        for place in slot.latents:
            self.x[place] = 0
        if slot.request.cross is not None or slot.request.blend is not None:
            self._cross.leave(slot.places)
        self._free = sorted([*self._free, *slot.places])
        self._seating.changed = True

    def clear(self) -> None:
        """Empty every place."""
        self._cross.leave(range(self.rows))
        self.slots, self._free = [], list(range(self.rows))
        self._seating.changed = True
        self.x.zero_()

    def _empty(self, rows: int) -> Tensor:
        return torch.zeros((rows, *self.shape), dtype=self.dtype, device=self.networks.device)

    def _nothing(self, rows: int) -> Conditioning:
        """What rows are told that nobody holds."""
        networks = self.networks
        empty = networks.text.words("")
        height, width = (side * networks.autoencoder.factor for side in self.shape[1:])
        context, added = conditioning([empty] * rows, height, width, empty.tokens)
        picture = None
        if networks.unet.config.in_channels == 2 * networks.autoencoder.channels:
            picture = torch.zeros((rows, *self.shape), dtype=networks.dtype, device=networks.device)
        return Conditioning(context, added, picture)


def _stacked(noises: Sequence[Future[Tensor]], device: torch.device) -> Tensor:
    """Noises that were begun before, as one tensor."""
    # By numpy, which takes no other thread's processors for it.
    return locked(torch.from_numpy(np.stack([one.result().numpy() for one in noises])), device)


def guide(rows: Tensor, rungs: Tensor, scales: Tensor) -> Tensor:
    """One prediction for each place, from the rows that stand below each other there.

    `rows` are (row, channel, height, width), `rungs` (rung, place) the rows of each place from the least
    told to the most, the last repeated where there are fewer; `scales` (rung - 1, place), 0 there.
    With two rungs it is classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598, equation 6, with
    scale = 1 + w), with three InstructPix2Pix's (Brooks et al. 2023, arXiv:2211.09800, equation 3):
    nothing, the picture alone, the picture and the instruction.
    """
    below = rows.index_select(0, rungs[0])
    found = below
    for rung, scale in zip(rungs[1:], scales, strict=True):
        above = rows.index_select(0, rung)
        found = found + scale.to(rows.dtype).view(-1, 1, 1, 1) * (above - below)
        below = above
    return found
