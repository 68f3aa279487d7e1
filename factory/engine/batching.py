"""The resident engine: one thread, a fixed number of slots, candidates of any triplets beside each other.

A slot holds one pair. Every step moves all slots by one step of their own; a pair that is done
leaves and the next one takes its place, so the batch never waits for its slowest member. Shapes
never change, because kernels change with shape: idle slots are padding.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from factory.engine.attention.prompt_to_prompt import route, shares_attention
from factory.engine.attention.routing import Router
from factory.engine.checkpoint.load import Models
from factory.engine.decoding import Decoder
from factory.engine.denoiser import Denoiser
from factory.engine.guidance import guide
from factory.engine.solvers.noise import NoiseLaw, hashed_noise
from factory.engine.solvers.schedule import STEPS_OF
from factory.engine.solvers.step import STEP_OF
from factory.pairs.source import Draw, Made, NotMade
from schemas.recipe import Recipe

Outcome = Made | NotMade | Exception
"""What a caller hears of a candidate; an exception means that the engine failed, not the candidate."""


@dataclass
class Call:
    """Who asked for some candidates."""

    tell: Callable[[Outcome], None]
    abandoned: bool = False
    """Set where nobody waits any more."""


@dataclass
class Slot:
    """A candidate in the batch, and who asked for it."""

    draw: Draw
    call: Call
    step: int = 0


class Batch:
    """The slots and their state; `advance` moves each by one step. Not thread-safe."""

    def __init__(
        self, models: Models, recipe: Recipe, pairs: int, noise: NoiseLaw = hashed_noise
    ) -> None:
        self.models = models
        self.recipe = recipe
        self.noise = noise
        self.steps = STEPS_OF[recipe.solver](models.schedule, recipe.steps)
        self.solve = STEP_OF[recipe.solver]
        self.denoise = Denoiser(models.unet, models.schedule)
        self.router = Router(models.unet)
        self.slots: list[Slot | None] = [None] * pairs
        factor = 2 ** (len(models.autoencoder.config.block_out_channels) - 1)
        side = recipe.size_px // factor
        self.shape = (int(models.unet.config.in_channels), side, side)
        # The state keeps at least float32, whatever the network computes in.
        self.dtype = torch.promote_types(models.dtype, torch.float32)
        empty = models.text.context("")
        self.x = torch.zeros((pairs, 2, *self.shape), dtype=self.dtype, device=models.device)
        self.context = empty.expand(4 * pairs, *empty.shape).clone()
        self.sigmas = self.steps.sigmas.to(models.device)
        self.timesteps = self.steps.timesteps.to(models.device)

    def free(self) -> list[int]:
        """Places without a candidate."""
        return [i for i, slot in enumerate(self.slots) if slot is None]

    def unreadable(self, draw: Draw) -> str:
        """Why a candidate's words cannot be tokenised; empty where they can. Needs no device."""
        try:
            for prompt in (draw.triplet.original_prompt, draw.triplet.edited_prompt):
                self.models.text.truncates(prompt)
        except (ValueError, UnicodeError):
            return "prompt cannot be tokenised"
        return ""

    @torch.inference_mode()
    def admit(self, place: int, slot: Slot) -> None:
        """Put a candidate into a free place: both images start from one noise."""
        models, pairs, triplet = self.models, len(self.slots), slot.draw.triplet
        start = self._noise(slot.draw, "start") * self.steps.start_scale
        self.x[place] = start.to(models.device)
        self.context[place + 2 * pairs] = models.text.context(triplet.original_prompt)
        self.context[place + 3 * pairs] = models.text.context(triplet.edited_prompt)
        self.slots[place] = slot

    def _noise(self, draw: Draw, purpose: str) -> Tensor:
        return self.noise(draw, purpose, self.shape).to(self.dtype)

    @torch.inference_mode()
    def advance(self) -> list[tuple[Slot, Tensor]]:
        """One step for every slot; returns those that are done with their latents, and frees them."""
        steps = torch.tensor([slot.step if slot else 0 for slot in self.slots])
        at = steps.to(self.x.device)
        sigma, sigma_next = self.sigmas[at], self.sigmas[at + 1]
        denoised = self._guided(sigma, self.timesteps[at])
        self.x = self.solve(self.x, denoised, sigma, sigma_next, self._step_noise())
        done: list[tuple[Slot, Tensor]] = []
        for place, slot in enumerate(self.slots):
            if slot is None:
                continue
            slot.step += 1
            if slot.step == len(self.steps):
                # Solvers keep x / sqrt(alpha); the last noise level is 0 for all but DDIM.
                done.append((slot, self.x[place] / (1 + self.sigmas[-1] ** 2).sqrt()))
        for slot, _ in done:
            place = self.slots.index(slot)
            self.x[place] = 0
            self.slots[place] = None
        return done

    def occupants(self) -> list[Slot]:
        """Who is in the batch."""
        return [slot for slot in self.slots if slot is not None]

    def clear(self) -> None:
        """Empty every place."""
        self.slots = [None] * len(self.slots)
        self.x = torch.zeros_like(self.x)

    def _guided(self, sigma: Tensor, timestep: Tensor) -> Tensor:
        pairs = len(self.slots)
        guidance = torch.tensor([slot.draw.guidance if slot else 1.0 for slot in self.slots])
        shared = torch.tensor([self._shares(slot) for slot in self.slots])
        rows = self.x.transpose(0, 1).flatten(0, 1)
        with self.router.use(route(shared).to(self.x.device) if shared.any() else None):
            denoised = self.denoise(
                torch.cat([rows, rows]), sigma.repeat(4), timestep.repeat(4), self.context
            )
        unconditional, conditional = denoised.chunk(2)
        both = guide(unconditional, conditional, guidance.to(self.x).repeat(2))
        return both.unflatten(0, (2, pairs)).transpose(0, 1)

    def _shares(self, slot: Slot | None) -> bool:
        if slot is None or self.recipe.attention == "none":
            return False
        return shares_attention(slot.draw.p, slot.step, len(self.steps))

    def _step_noise(self) -> Tensor:
        if self.recipe.solver == "ddim":
            return torch.zeros_like(self.x[:, 0])
        drawn = [
            self._noise(slot.draw, str(slot.step)) if slot else torch.zeros(self.shape)
            for slot in self.slots
        ]
        return torch.stack(drawn).to(self.x)


class Resident(threading.Thread):
    """Keeps one batch running for callers in any thread."""

    def __init__(self, batch: Batch, decoder: Decoder, threads: int) -> None:
        super().__init__(name="editmill-engine", daemon=True)
        self.batch = batch
        self.decoder = decoder
        self.threads = threads
        self.rows_run = 0
        """UNet rows that carried a candidate."""
        self.dead: Exception | None = None
        """What ended the engine; its device may be gone."""
        self._inbox: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        self._ending = threading.Lock()
        self.start()

    def submit(self, slot: Slot) -> None:
        """Queue a candidate; its call is told from the engine's thread. Raises when it is dead."""
        with self._ending:
            if self.dead is not None:
                raise self.dead
            self._inbox.put(slot)

    def run(self) -> None:
        """Fill, advance, decode, tell; until the device itself fails."""
        present: list[Slot] = []
        try:
            # OpenMP counts its threads per calling thread, so this one says it for itself.
            torch.set_num_threads(self.threads)
            while True:
                try:
                    self._fill()
                    present = self.batch.occupants()
                    self._advance(present)
                except Exception as error:
                    # A step that fails spoils the whole batch: every caller in it hears of it,
                    # first of all, since clearing may fail as well.
                    _tell_all([*present, *self.batch.occupants()], error)
                    present = []
                    self.batch.clear()
                present = []
        except Exception as error:
            with self._ending:
                self.dead = error
            _tell_all([*present, *self.batch.occupants(), *self._waiting()], error)

    def _advance(self, present: list[Slot]) -> None:
        if not present:
            return
        self.rows_run += 4 * len(present)
        done = self.batch.advance()
        outcomes = self.decoder.finish([(slot.draw, latents) for slot, latents in done])
        for (slot, _), outcome in zip(done, outcomes, strict=True):
            slot.call.tell(outcome)

    def _fill(self) -> None:
        """Take what waits; wait only where there is nothing to do."""
        free = self.batch.free()
        idle = len(free) == len(self.batch.slots)
        while free:
            try:
                slot = self._inbox.get(block=idle)
            except queue.Empty:
                return
            if slot.call.abandoned:
                continue
            unreadable = self.batch.unreadable(slot.draw)
            if unreadable:
                slot.call.tell(NotMade(slot.draw, unreadable, truncated=False))
                continue
            idle = False
            place = free.pop(0)
            # In its place before anything can fail, so that it is told.
            self.batch.slots[place] = slot
            self.batch.admit(place, slot)

    def _waiting(self) -> list[Slot]:
        """Empties the inbox."""
        waiting = []
        while True:
            try:
                waiting.append(self._inbox.get(block=False))
            except queue.Empty:
                return waiting


def _tell_all(slots: list[Slot], error: Exception) -> None:
    # A call may hear it more than once; the first time ends it.
    for slot in slots:
        slot.call.tell(error)
