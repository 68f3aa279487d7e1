"""Evaluations and blind comparisons: options, held-out sets, files of measures, answers."""

import json
from pathlib import Path

from PIL import Image

from tests.bad_input.materials import Step, write
from tests.bad_input.table import Case, case
from tests.bad_input.training_materials import pairs

EVALUATE = "evaluate --json --out out"
SWEEP = f"{EVALUATE} --sweep miniature"
LISTED = f"{SWEEP} --requests in/r.jsonl"
COMPARE = "compare --json out"


def pictures(**request: str) -> Step:
    """A folder with one picture and a list that asks for an edit of it."""

    def lay_out() -> None:
        Path("in").mkdir()
        Image.new("RGB", (64, 64)).save("in/a.png")
        Path("in/r.jsonl").write_text(json.dumps({"image": "a.png", **request}) + "\n")

    return lay_out


OPTIONS = [
    case("nothing to judge", EVALUATE, r"--editor or --sweep: must be given, got neither"),
    case(
        "editors of no sweep",
        f"{EVALUATE} --editor e --editors ip2p",
        r"--editors: needs --sweep, got none",
    ),
    case(
        "a held-out set for the oracle's editor alone",
        f"{EVALUATE} --editor e --dataset d",
        r"--dataset: needs --sweep, got none",
    ),
    case(
        "a preset beside a sweep",
        f"{SWEEP} --preset paper",
        r"--preset and --config: must be left out with --sweep, which names both",
    ),
    case(
        "a sweep that is none",
        f"{EVALUATE} --sweep minature",
        r"--sweep: must be miniature, paper or a YAML file, got 'minature'; did you mean 'miniature'\?",
    ),
    case(
        "a file of a sweep that is not there",
        f"{EVALUATE} --sweep none.yaml",
        r"none\.yaml: .* No such file.*",
    ),
    case(
        "an editor that the sweep does not have",
        f"{SWEEP} --editors ip2p,instruct",
        r"--editors: must be of ip2p, .*, each once, got 'ip2p,instruct'",
    ),
    case(
        "an editor twice",
        f"{SWEEP} --editors ip2p,ip2p",
        r"--editors: must be of ip2p, .*, each once, got 'ip2p,ip2p'",
    ),
    case(
        "an editor's folder for entrants that take none",
        f"{SWEEP} --editors sdedit --editor e",
        r"--editor: needs an entrant that is shown pictures, such as ip2p, got none",
    ),
    case(
        "a dataset and a list of requests",
        f"{SWEEP} --dataset d --requests r.jsonl",
        r"--dataset and --requests: give one, got both",
    ),
    case(
        "pictures without a list of requests",
        f"{SWEEP} --images in",
        r"--images: needs --requests, got none",
    ),
    case(
        "no pictures for a sweep of real ones",
        f"{EVALUATE} --sweep paper",
        r"--dataset or --requests: must be given with --sweep paper, got neither",
    ),
    case(
        "more scenes than the miniature has",
        f"{SWEEP} --edits 1001",
        r"held_out\.count: must be at most 1000 of the miniature, got 1001",
    ),
]
HELD_OUT = [
    case(
        "a list of held-out pictures that is not there",
        f"{SWEEP} --requests r.jsonl",
        r"r\.jsonl: no such file",
    ),
    case(
        "an empty list of held-out pictures",
        LISTED,
        r"r\.jsonl: must hold at least one request, got none",
        pictures(),
        write("in/r.jsonl", ""),
    ),
    case(
        "an editor that needs a caption of a list without",
        f"{LISTED} --editors sdedit",
        r"in/r\.jsonl: sdedit \(sdedit\) needs a target_caption of every picture, got none of a\.png",
        pictures(instruction="make it red"),
    ),
    case(
        "an editor that needs two captions of a list with one",
        f"{LISTED} --editors p2p",
        r"in/r\.jsonl: p2p \(p2p\) needs a source_caption of every picture, got none of a\.png",
        pictures(instruction="make it red", target_caption="a red square"),
    ),
]
LATE = [
    case(
        "a dataset of which nothing was held out",
        f"{SWEEP} --dataset pairs --set recipe.held_out.held_out=0.0001",
        r".*pairs: held_out 0\.0001 must leave at least one of its \d+ prompts?, got none",
        pairs(),
    ),
    case(
        "weights of LPIPS that are not there",
        f"{SWEEP} --set recipe.lpips.source=none.pth",
        r".*none\.pth.*",
    ),
]
COMPARISONS = [
    case(
        "a comparison of nothing", COMPARE, r"out: must be what `evaluate` wrote, got no run in it"
    ),
]
EVALUATIONS: list[Case] = [*OPTIONS, *HELD_OUT, *COMPARISONS]
