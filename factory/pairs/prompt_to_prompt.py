"""Pairs by Stable Diffusion with Prompt-to-Prompt, scored by CLIP: draws in, the engine's requests out."""

import time
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from importlib.metadata import version

from factory.engine.attention.prompt_to_prompt import SharedAttention, word_maps
from factory.engine.checkpoint.load import load_models
from factory.engine.device import device_name, torch_device
from factory.engine.engine import Engine
from factory.engine.networks import Models
from factory.engine.rates import steps_of_other_sizes
from factory.engine.request import Failed, Finished, Guided, Request, Row
from factory.pairs.batch_size import GAIN, fastest
from factory.pairs.source import Draw, Made, NotMade
from schemas.config import Compute
from schemas.recipe import Recipe
from schemas.running.environment import Environment
from schemas.triplet import Triplet

_WHEELS = ("torch", "diffusers", "transformers", "open_clip_torch", "numpy", "pillow", "pyarrow")
ROWS = 4
"""Of a pair: without and with its prompt, for the original and for the edited picture."""
TIMED_STEPS = 3
SOME = Draw(
    triplet=Triplet(original_prompt="before", edit_prompt="edit", edited_prompt="after"),
    index=0,
    seed=0,
    p=0.5,
    guidance=7.5,
)
"""Of which steps are timed: how long they take does not depend on words."""


class PromptToPrompt:
    """A `PairSource`. The recipe's models are paths (`placed_models`).

    Raises `ModelError` where files are missing or damaged. Several threads may call `pairs` at once.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        device: str = "auto",
        batch_pairs: int = 8,
        decode_pairs: int = 2,
        threads: int = 1,
    ) -> None:
        self.recipe = recipe
        self.device = torch_device(device)
        self.batch_pairs = batch_pairs
        self.decode_pairs = decode_pairs
        self.threads = threads
        self.models: Models = load_models(recipe, self.device)
        self.engine = self._engine()

    def _engine(self) -> Engine:
        return Engine(
            self.models,
            (self.recipe.size_px, self.recipe.size_px),
            rows=ROWS * self.batch_pairs,
            decode_pictures=2 * self.decode_pairs,
            threads=self.threads,
        )

    @classmethod
    def for_compute(
        cls,
        recipe: Recipe,
        compute: Compute,
        size: Callable[["PromptToPrompt"], int] = lambda source: fastest(source.rates()),
    ) -> "PromptToPrompt":
        """What a configuration asks for; of a size that is to be found, what `size` says."""
        pairs = compute.batch_pairs
        source = cls(
            recipe,
            device=compute.device,
            batch_pairs=1 if pairs == "auto" else pairs,
            decode_pairs=compute.decode_pairs,
            threads=compute.threads,
        )
        return source.resized(size(source)) if pairs == "auto" else source

    def resized(self, batch_pairs: int) -> "PromptToPrompt":
        """The same models in batches of another size; this one is not used any more."""
        if batch_pairs == self.batch_pairs:
            return self
        other = copy(self)
        other.batch_pairs = batch_pairs
        other.engine = other._engine()
        return other

    def rates(self, patience_s: float = 60.0) -> dict[int, float]:
        """Rows a second by pairs in a batch, of 1, 2, 4 and so on, until twice as many gain nothing, do not
        fit the device, or would take too long. Denoising alone; nobody else may use the engine meanwhile.
        """
        until, found = time.monotonic() + patience_s, dict[int, float]()
        with steps_of_other_sizes(self.engine, [request_of(SOME, self.recipe)]) as seconds:
            for pairs in (2**n for n in range(13)):
                try:
                    # The first step of a size warms it up.
                    taken = [seconds(ROWS * pairs) for _ in range(1 + TIMED_STEPS)]
                except (RuntimeError, MemoryError) as error:
                    if not found or "memory" not in str(error):
                        raise
                    break
                before = found.get(pairs // 2, 0.0)
                found[pairs] = ROWS * pairs / min(taken[1:])
                if found[pairs] < GAIN * before or time.monotonic() + 2 * sum(taken) > until:
                    break
        return found

    def pairs(self, draws: Sequence[Draw]) -> Iterator[Made | NotMade]:
        """One outcome per draw, as they are ready. Raises whatever made the engine itself fail."""
        requests = [request_of(draw, self.recipe) for draw in draws]
        drawn = {id(request): draw for request, draw in zip(requests, draws, strict=True)}
        for result in self.engine.make(requests):
            yield outcome_of(drawn[id(result.request)], result)

    @property
    def rows_run(self) -> int:
        """UNet rows that carried a candidate so far, four a pair and step."""
        return self.engine.rows_run

    @property
    def idle_s(self) -> float:
        """Seconds in which the engine waited for a candidate, since the first."""
        return self.engine.idle_s

    def environment(self) -> Environment:
        """This device, these wheels, these shapes."""
        return Environment(
            device=device_name(self.device),
            wheels={name: version(name) for name in _WHEELS},
            batch_pairs=self.batch_pairs,
            decode_pairs=self.decode_pairs,
            threads=self.threads,
            attention="sdpa",
        )


def request_of(draw: Draw, recipe: Recipe) -> Request:
    """A candidate as the engine is asked for it: both pictures from one noise, the edited one with the
    original's self-attention for a share of the steps, and perhaps its word maps.
    """
    prompts = (draw.triplet.original_prompt, draw.triplet.edited_prompt)
    cross = blend = None
    if recipe.cross is not None:
        # As in the original Prompt-to-Prompt: of the rows that are told a caption.
        cross, blend = word_maps(recipe.cross, 1, 3, *prompts)
    return Request(
        latents=tuple(Guided((Row(None), Row(prompt)), (draw.guidance,)) for prompt in prompts),
        seed=draw.seed,
        steps=recipe.steps,
        solver=recipe.solver,
        control=SharedAttention(draw.p) if recipe.attention == "self" else None,
        cross=cross,
        blend=blend,
        returns="scores",
    )


def outcome_of(draw: Draw, result: Finished | Failed) -> Made | NotMade:
    """What came of a candidate."""
    if isinstance(result, Failed):
        return NotMade(draw, result.reason, result.truncated)
    original, edited = result.pictures
    assert result.scores is not None
    return Made(draw, original, edited, result.scores, result.truncated)
