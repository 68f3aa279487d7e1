"""What is made of all scores when a run is sealed: a table, the curve, a report of every number.

A function of the outcomes and the recipe alone, so that whoever seals again makes the same bytes; on which
machines they were made stands in the commits.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from factory.ledger.run import Run
from factory.ledger.units.commits import Commit
from factory.miniature.oracle import ORACLE_VERSION
from schemas.canonical import content_hash
from schemas.edits import KNOBS
from schemas.evaluation import (
    EVALUATE,
    SCORES,
    WORDS,
    Entrant,
    EvaluationRecipe,
    point_name,
)
from schemas.recipe import ModelSource
from trainer.evaluation.plot import Curve, plot
from trainer.evaluation.points import (
    DONE,
    KEPT,
    PASSES,
    PLACE,
    Comparison,
    Estimate,
    Point,
    X,
    Y,
    compare,
    points_of,
)

NAMES = ("table.csv", "curve.svg", "curve.png", "report.json")
"""In the order in which a manifest names them."""
MEANINGS = {
    "clip_sim_0": "cosine of the picture and its caption",
    "clip_sim_1": "cosine of the edit and the caption that it should have",
    "clip_sim_dir": "cosine of the change of picture and the change of caption",
    "clip_sim_image": "cosine of the picture and its edit",
    "l1": "mean absolute difference of picture and edit, channels in 0..1",
    "lpips": "LPIPS (AlexNet) of picture and edit",
    "dino": "mean squared difference of the self-similarities of picture and edit",
    PASSES: "share of edits that pass the recipe's gates",
    "edit_done": "share of edits in which the oracle reads the edit",
    "rest_kept": "share of edits in which it reads all else as it was",
    "place_kept": "share of edits in which it reads the shape where it was, within 4 px",
    "true": "both: edit accuracy",
    "unchanged": "share of edits that read as the picture did",
    "unreadable": "share of edits that show no scene",
}
SHARES = (PASSES, *WORDS)


def finish(run: Run, commits: Iterator[Commit]) -> Iterator[tuple[str, bytes]]:
    """The table, the curve twice, and the report, by their names."""
    recipe = EvaluationRecipe.known(run.recipe)
    pictures: dict[int, tuple[str, str | None]] = {}

    def rows() -> Iterator[Mapping[str, Any]]:
        for commit in commits:
            for row in commit.rows:
                if row["number"] not in pictures or row["picture_sha256"]:
                    pictures[row["number"]] = row["picture"], row["picture_sha256"]
                yield row

    points = points_of(recipe, rows())
    seen = content_hash([list(pictures[number]) for number in sorted(pictures)])
    origin = provenance(recipe, run.recipe_hash, seen)
    yield "table.csv", table(recipe, points, origin)
    drawing = plot(
        [_curve(entrant, points) for entrant in recipe.entrants],
        f"{len(pictures)} held-out pictures ({recipe.held_out.kind}), "
        f"{recipe.attempts} {'attempts' if recipe.attempts > 1 else 'attempt'} each; "
        f"recipe {run.recipe_hash[:12]}",
    )
    yield "curve.svg", drawing.svg()
    yield "curve.png", drawing.png()
    report = json.dumps(report_of(recipe, points, origin), indent=1, ensure_ascii=False)
    yield "report.json", (report + "\n").encode()


def provenance(recipe: EvaluationRecipe, recipe_hash: str, pictures: str) -> dict[str, Any]:
    """Where every number is from: files by their hashes."""
    held_out = recipe.held_out
    has_oracle = held_out.kind == "miniature"
    return {
        "recipe": recipe_hash,
        "stage_version": EVALUATE.version,
        "oracle_version": ORACLE_VERSION if has_oracle else None,
        "held_out": {
            "kind": held_out.kind,
            "digest": held_out.digest,
            "dataset": held_out.dataset or None,
            "pictures": pictures,
        },
        "gates": recipe.gates and recipe.gates.model_dump(mode="json"),
        "clip": files_of(recipe.clip),
        "lpips": files_of(recipe.lpips),
        "dino": files_of(recipe.dino),
        "editors": {
            entrant.name: {
                "editor": entrant.edits.editor,
                "files": files_of(getattr(entrant.settings, "model", None)),
                "autoencoder": files_of(getattr(entrant.settings, "autoencoder", None)),
                "pipeline": getattr(entrant.settings, "pipeline", None),
                "steps": getattr(entrant.settings, "steps", None),
            }
            for entrant in recipe.entrants
        },
    }


def files_of(source: ModelSource | None) -> str | None:
    """sha256 over the hashes of a model's files, by name."""
    return None if source is None else content_hash(dict(source.files))


def table(recipe: EvaluationRecipe, points: Sequence[Point], origin: Mapping[str, Any]) -> bytes:
    """CSV, a row a point: every measure with its interval, and where it is from."""
    measures = [*SCORES, *SHARES]
    columns = [
        *("entrant", "editor", "steps", *KNOBS, "pictures", "edits", "failed"),
        *(f"{name}{end}" for name in measures for end in ("", "_low", "_high")),
        *("recipe", "editor_files", "autoencoder_files", "held_out", "pictures_seen"),
        *("clip_files", "lpips_files", "dino_files", "versions"),
    ]
    sink = io.StringIO()
    writer = csv.DictWriter(sink, columns, lineterminator="\n")
    writer.writeheader()
    versions = f"evaluate {origin['stage_version']}"
    if origin["oracle_version"] is not None:
        versions += f", oracle {origin['oracle_version']}"
    for point in points:
        entrant, of = recipe.of(point.entrant), origin["editors"][point.entrant]
        line: dict[str, Any] = {
            "entrant": point.entrant,
            "editor": of["editor"],
            "steps": of["steps"],
            **asked(entrant, point.setting),
            "pictures": point.pictures,
            "edits": len(point.rows),
            "failed": point.failed,
            "recipe": origin["recipe"],
            "editor_files": of["files"],
            "autoencoder_files": of["autoencoder"],
            "held_out": origin["held_out"]["digest"],
            "pictures_seen": origin["held_out"]["pictures"],
            "clip_files": origin["clip"],
            "lpips_files": origin["lpips"],
            "dino_files": origin["dino"],
            "versions": versions,
        }
        for name in measures:
            found = estimate(point, name)
            line |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
        writer.writerow(line)
    return sink.getvalue().encode()


def asked(entrant: Entrant, setting: Mapping[str, float | None]) -> dict[str, float | None]:
    """What an editor was given at a setting, its own where nothing else is; null what it does not know."""
    return {
        name: value if value is not None else getattr(entrant.settings, name, None)
        for name, value in setting.items()
    }


def estimate(point: Point, measure: str) -> Estimate:
    """A mean, or a share."""
    return point.share(measure) if measure in SHARES else point.mean(measure)


def report_of(
    recipe: EvaluationRecipe, points: Sequence[Point], origin: Mapping[str, Any]
) -> dict[str, Any]:
    """Every number and where it comes from."""
    of = {e.name: [p for p in points if p.entrant == e.name] for e in recipe.entrants}
    names = list(of)
    pairs = [(of[one], of[other]) for one in names for other in names if one != other]
    comparisons = [compare(*pair) for pair in pairs]
    has_oracle = recipe.held_out.kind == "miniature"
    keeping = [compare(*pair, DONE, KEPT) for pair in pairs] if has_oracle else []
    in_place = [compare(*pair, DONE, PLACE) for pair in pairs] if has_oracle else []
    return {
        "figures": {
            f"above_{found.than}": found.above
            for found in comparisons
            if found.entrant == names[0] and found.above is not None
        },
        "points": [_point(recipe, point) for point in points],
        "above": [_comparison(found) for found in comparisons],
        "keeps_more": [_comparison(found) for found in keeping],
        "keeps_place": [_comparison(found) for found in in_place],
        "provenance": dict(origin),
        "measures": MEANINGS,
        "intervals": "95 %: of means the percentiles of 2,000 resamples of the pictures, beyond 10,000 "
        "pictures the normal one; of shares Wilson's, for as many trials as there are pictures",
    }


def _point(recipe: EvaluationRecipe, point: Point) -> dict[str, Any]:
    found: dict[str, Any] = {
        "entrant": point.entrant,
        "setting": asked(recipe.of(point.entrant), point.setting),
        "pictures": point.pictures,
        "edits": len(point.rows),
        "failed": point.failed,
    }
    for name in (*SCORES, *SHARES):
        value = estimate(point, name)
        found[name] = None if value.value is None else asdict(value)
    for word in (PASSES, "true"):
        shares = point.within(word, recipe.attempts)
        if shares and shares[0].value is not None:
            found[f"{word}_within"] = [
                {"attempts": k, **asdict(share)} for k, share in enumerate(shares, start=1)
            ]
    return found


def _comparison(found: Comparison) -> dict[str, Any]:
    plain = asdict(found)
    return {
        "entrant": plain["entrant"],
        "than": plain["than"],
        "above": plain["above"],
        "from": plain["from_"],
        "to": plain["to"],
        "pictures": plain["pictures"],
        "least_margin": plain["least"],
    }


def _curve(entrant: Entrant, points: Sequence[Point]) -> Curve:
    of = [point for point in points if point.entrant == entrant.name]
    along = [(point.mean(X), point.mean(Y)) for point in of]
    if entrant.sweep is None:
        return Curve(entrant.name, along, "at its own settings")
    name, values = entrant.sweep.parameter, entrant.sweep.values
    if len(values) == 1:
        return Curve(entrant.name, along, point_name(of[0].setting))
    ends = f"{values[0]:g}", f"{values[-1]:g}"
    return Curve(entrant.name, along, name.replace("_", " "), ends)
