"""Pairs by Stable Diffusion with Prompt-to-Prompt, scored by CLIP: draws in, the engine's requests out."""

from collections.abc import Iterator, Sequence
from importlib.metadata import version

from factory.engine.attention.prompt_to_prompt import SharedAttention
from factory.engine.checkpoint.load import load_models
from factory.engine.device import device_name, torch_device
from factory.engine.engine import Engine
from factory.engine.request import Failed, Finished, Guided, Request, Row
from factory.pairs.source import Draw, Made, NotMade
from schemas.config import Compute
from schemas.environment import Environment
from schemas.recipe import Recipe

_WHEELS = ("torch", "diffusers", "transformers", "open_clip_torch", "numpy", "pillow", "pyarrow")
ROWS = 4
"""Of a pair: without and with its prompt, for the original and for the edited picture."""


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
        self.engine = Engine(
            load_models(recipe, self.device),
            (recipe.size_px, recipe.size_px),
            rows=ROWS * batch_pairs,
            decode_pictures=2 * decode_pairs,
            threads=threads,
        )

    @classmethod
    def for_compute(cls, recipe: Recipe, compute: Compute) -> "PromptToPrompt":
        """What a configuration asks for."""
        return cls(
            recipe,
            device=compute.device,
            batch_pairs=compute.batch_pairs,
            decode_pairs=compute.decode_pairs,
            threads=compute.threads,
        )

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
    original's self-attention for a share of the steps.
    """
    prompts = (draw.triplet.original_prompt, draw.triplet.edited_prompt)
    return Request(
        latents=tuple(Guided((Row(None), Row(prompt)), (draw.guidance,)) for prompt in prompts),
        seed=draw.seed,
        steps=recipe.steps,
        solver=recipe.solver,
        control=SharedAttention(draw.p) if recipe.attention == "self" else None,
        returns="scores",
    )


def outcome_of(draw: Draw, result: Finished | Failed) -> Made | NotMade:
    """What came of a candidate."""
    if isinstance(result, Failed):
        return NotMade(draw, result.reason, result.truncated)
    original, edited = result.pictures
    assert result.scores is not None
    return Made(draw, original, edited, result.scores, result.truncated)
