"""Check the engine against pairs that InstructPix2Pix released, on the models that made them.

python benchmarks/released_pairs.py --data clip-filtered-dataset/shard-00

Three checks, each on its own: p and guidance follow from the stored seed (exact, needs no model);
the stored images have the stored scores (CLIP); the stored seed gives the stored images (the whole
engine; the released ones need a CUDA device). docs/real-weights.md says how to read the result.
"""

import itertools
import os
import statistics
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import torch  # noqa: E402
import typer  # noqa: E402

from benchmarks.released.checks import (  # noqa: E402
    Regenerated,
    Regenerator,
    allowance,
    differences,
    psnr,
    rescored,
)
from benchmarks.released.folder import ReleasedPair, released_pairs  # noqa: E402
from benchmarks.released.original_draws import drawn_settings  # noqa: E402
from factory.console.command import command  # noqa: E402
from factory.console.config import PRESETS, load_config  # noqa: E402
from factory.console.options import OURS, AsJson, ConfigFile, Settings, preset_option  # noqa: E402
from factory.console.say import print_facts, print_json, say  # noqa: E402
from factory.engine.checkpoint.load import DTYPES, load_clip, load_models  # noqa: E402
from factory.engine.clip_scorer import ClipScorer  # noqa: E402
from factory.errors import ConfigError, Damaged, InputError  # noqa: E402
from factory.models.find import placed, placed_models  # noqa: E402
from factory.models.pin import pin  # noqa: E402
from schemas.candidate import Scores  # noqa: E402
from schemas.recipe import Recipe  # noqa: E402

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass
class Findings:
    """What was checked, and every problem as where, rule, got."""

    problems: list[str] = field(default_factory=list)
    redrawn: list[bool] = field(default_factory=list)
    """Per pair: p and guidance follow from its seed."""
    off: dict[str, list[float]] = field(
        default_factory=lambda: {score: [] for score in Scores.model_fields}
    )
    """Per score: ours less the file's, by pair."""
    again: list[Regenerated] = field(default_factory=list)

    def add_problem(self, text: str) -> None:
        say(text)
        self.problems.append(text)

    def facts(self) -> dict[str, Any]:
        """Figures by name; the lists have an entry per pair made again."""
        sizes = {score: [abs(value) for value in values] for score, values in self.off.items()}
        return {
            "pairs": len(self.redrawn),
            "redrawn": sum(self.redrawn),
            **{f"{k}_median_off": round(statistics.median(v), 5) for k, v in sizes.items() if v},
            **{f"{k}_most_off": round(max(v), 5) for k, v in sizes.items() if v},
            "made_again": len(self.again),
            "psnr_original": [round(x.psnr[0], 1) for x in self.again],
            "psnr_edited": [round(x.psnr[1], 1) for x in self.again],
            "psnr_another_pair": [round(x, 1) for x in self.others()],
            "cosine_original": [round(x.cosine[0], 4) for x in self.again],
            "cosine_edited": [round(x.cosine[1], 4) for x in self.again],
            "scores_off": [round(max(map(abs, x.off.values())), 6) for x in self.again],
        }

    def others(self) -> list[float]:
        """Each original made again, against the released one of the next pair: what no match is."""
        after = [*self.again[1:], *self.again[:1]] if len(self.again) > 1 else []
        return [
            psnr(mine.made.original, other.released[0])
            for mine, other in zip(self.again, after, strict=False)
        ]


@app.command()
@command
def check(
    data: Annotated[Path, typer.Option(help="A released shard's folder, or a folder of shards.")],
    preset: Annotated[
        Optional[str], preset_option(f"{OURS}; paper is the default.", PRESETS)
    ] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    count: Annotated[int, typer.Option(min=1, help="Pairs to score again.")] = 100,
    regenerate: Annotated[int, typer.Option(min=0, help="How many of them to make again.")] = 4,
    noise: Annotated[
        Literal["cuda", "cpu"],
        typer.Option(help="Whose generator drew the noise; cuda for what was released."),
    ] = "cuda",
    score_tolerance: Annotated[float, typer.Option(min=0, help="For a score.")] = 0.02,
    least_psnr: Annotated[float, typer.Option(help="Decibels, for each image made again.")] = 20.0,
    as_json: AsJson = False,
) -> int:
    """Score released pairs again, make some again; the preset is `paper` where none is given.

    Ends with 0 where everything held, 3 where something did not, 2 where nothing was begun.
    """
    of = load_config(preset or (None if config else "paper"), config, settings or [])
    found = list(itertools.islice(released_pairs(data), count))
    if not found:
        raise InputError(f"{data}: must hold at least one kept pair, got prompts without any")
    if regenerate and noise == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "--regenerate: must be 0 without a CUDA device, whose generator drew the noise of "
            f"released pairs, got {regenerate}"
        )
    device = _device(of.compute.device)
    torch.set_num_threads(of.compute.threads)
    findings = Findings()
    if regenerate:
        models = load_models(placed_models(pin(of.recipe)), device)
        whole = rescore(found, models.clip, of.recipe, score_tolerance, findings)
        regenerator = Regenerator(models, of.recipe, torch.device(noise))
        make_again(whole[:regenerate], regenerator, least_psnr, findings)
    else:
        clip = load_clip(placed(of.recipe.clip, "clip"), device, DTYPES[of.recipe.dtype])
        rescore(found, clip, of.recipe, score_tolerance, findings)
    facts = findings.facts()
    if as_json:
        print_json({**facts, "problems": findings.problems})
    else:
        print_facts({**facts, "problems": len(findings.problems)})
    return Damaged.exit_code if findings.problems else 0


def rescore(
    found: Iterable[ReleasedPair | Damaged],
    clip: ClipScorer,
    recipe: Recipe,
    tolerance: float,
    findings: Findings,
) -> list[ReleasedPair]:
    """Check p, guidance and the four scores of every pair; returns those whose files are whole."""
    whole: list[ReleasedPair] = []
    for pair in found:
        if isinstance(pair, Damaged):
            findings.add_problem(str(pair))
            continue
        where, stored = f"{pair.folder}/metadata.jsonl: seed {pair.metadata.seed}", pair.draw
        drawn = drawn_settings(pair.metadata.seed, recipe)
        findings.redrawn.append(
            all(abs(a - b) < 1e-9 for a, b in zip(drawn, (stored.p, stored.guidance), strict=True))
        )
        if not findings.redrawn[-1]:
            findings.add_problem(
                f"{where}: p2p_threshold and cfg_scale must be {drawn[0]:.6f} and {drawn[1]:.6f} "
                f"by the seed, got {stored.p:.6f} and {stored.guidance:.6f}"
            )
        try:
            ours = rescored(clip, pair, recipe.size_px)
        except Damaged as error:
            findings.add_problem(str(error))
            continue
        whole.append(pair)
        off = differences(ours, pair)
        for score, value in off.items():
            findings.off[score].append(value)
            allowed = allowance(score, tolerance, ours)
            if not abs(value) <= allowed:
                stored_score = getattr(pair.metadata, score)
                findings.add_problem(
                    f"{where}: {score} must be {stored_score + value:.4f} within {allowed:.4f}, "
                    f"got {stored_score:.4f}"
                )
        worst = max(off.values(), key=abs)
        say(f"{pair.name}: scored again, {worst:+.4f} off at most")
    return whole


def make_again(
    pairs: Iterable[ReleasedPair],
    regenerator: Regenerator,
    least_psnr: float,
    findings: Findings,
) -> None:
    """Make pairs from their seeds, and compare the pictures."""
    for pair in pairs:
        try:
            again = regenerator(pair)
        except Damaged as error:
            findings.add_problem(str(error))
            continue
        findings.again.append(again)
        say(f"{pair.name}: made again, PSNR {again.psnr[0]:.1f} and {again.psnr[1]:.1f} dB")
        for image, decibels in enumerate(again.psnr):
            if not decibels >= least_psnr:
                findings.add_problem(
                    f"{pair.file(image)}: must be made again within {least_psnr} dB, "
                    f"got {decibels:.1f}"
                )


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.device(name)
    except RuntimeError:
        raise ConfigError(f"compute.device: must be auto or a torch device, got {name!r}") from None


if __name__ == "__main__":
    app()
