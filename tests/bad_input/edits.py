"""Bulk edits: places, requests, editors. What is wrong with single pictures is a row of the results."""

import json
from pathlib import Path

from PIL import Image

from tests.bad_input.materials import Step, write
from tests.bad_input.table import Case, case

EDIT = "edit --json --preset miniature --out out"
ALL = f"{EDIT} --images in --instruction 'make it red'"
EACH = f"{EDIT} --images in --requests r.jsonl"


def pictures(*names: str) -> Step:
    def draw() -> None:
        for name in names or ("a.png",):
            Path("in", name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(Path("in", name))

    return draw


def request(id: str, message: str, **fields: object) -> Case:
    line = json.dumps({"image": "a.png", "instruction": "make it red", **fields}) + "\n"
    return case(
        id,
        EACH,
        rf"r\.jsonl:1: {message} \(1 bad line, --max-bad is 0\)",
        pictures(),
        write("r.jsonl", line),
    )


PLACES = [
    case("nothing to edit", EDIT, r"--images or --requests: must be given, got neither"),
    case(
        "no instruction",
        f"{EDIT} --images in",
        r"--instruction: must be given with --images, got none",
        pictures(),
    ),
    case(
        "an instruction beside a list of requests",
        f"{EACH} --instruction x",
        r"--instruction: must stand in --requests where that is given, got both",
        pictures(),
        write("r.jsonl", ""),
    ),
    case("a place that is not there", ALL, r"in: must be a folder or s3://bucket/prefix, got none"),
    case(
        "a file as a place",
        ALL,
        r"in: must be a folder or s3://bucket/prefix, got a file",
        write("in", ""),
    ),
    case(
        "an empty place",
        ALL,
        r"/.*/in: must hold at least one object, got none",
        lambda: Path("in").mkdir(),
    ),
    case(
        "edits among the pictures",
        ALL.replace("--out out", "--out in/edits"),
        r"--out in/edits: must not lie below --images in, got edits among them",
        pictures(),
    ),
    case(
        "edits in the place of the pictures",
        ALL.replace("--out out", "--out ./in/"),
        r"--out \./in/: must not lie below --images in, .*",
        pictures(),
    ),
    case(
        "two pictures that come to one key",
        f"{ALL} --set recipe.output.format=webp",
        r"a\.webp: must be the key of one edited picture, got two: of a\.jpg and a\.png; give each an .*",
        pictures("a.png", "a.jpg"),
    ),
    case(
        "a list of triplets beside pictures",
        "plan --triplets miniature --images in --instruction x --preset miniature",
        r"--triplets: must not be given with pictures to edit, got both",
        pictures(),
    ),
]
REQUESTS = [
    case("a missing list of requests", EACH, r"r\.jsonl: no such file", pictures()),
    case(
        "an empty list of requests",
        EACH,
        r"r\.jsonl: must hold at least one request, got none",
        pictures(),
        write("r.jsonl", ""),
    ),
    case(
        "a list without pictures",
        EACH.replace("r.jsonl", "r.csv"),
        r"r\.csv: must have columns image, instruction, got 'a, b'",
        pictures(),
        write("r.csv", "a,b\n1,2\n"),
    ),
    request(
        "a request without a picture",
        r'field "image": expected the key of a picture, got .*',
        image=None,
    ),
    request(
        "a request without an instruction",
        r'field "editor": ip2p needs instruction, got none',
        instruction=" ",
    ),
    request(
        "a way up in a key",
        r'field "image": must have no part that is empty or begins with a dot, got .*',
        image="../a.png",
    ),
    request(
        "a key that begins with a slash",
        r'field "image": must have no part that is empty .*',
        image="/a.png",
    ),
    request(
        "a key among the records",
        r"output key: must not lie below _editmill/, .*",
        output_key="_editmill/a.png",
    ),
    request(
        "another editor",
        r'field "editor": paint must be one of ip2p, sdedit, p2p, pnp, got \'paint\'',
        editor="paint",
    ),
    request(
        "an editor without its caption",
        r'field "editor": sdedit needs target_caption, got none',
        editor="sdedit",
    ),
    request(
        "a request with a seed below 0",
        r'field "seed": expected a number within 0\.\..*, got -1',
        seed=-1,
    ),
    request(
        "a strength beyond 1",
        r'field "strength": expected a number within 0\.001\.\.1, got 2',
        strength=2,
    ),
    request(
        "guidance in words",
        r'field "text_guidance": expected a number .*, got \'much\'',
        text_guidance="much",
    ),
    case(
        "two requests for one key",
        EACH,
        r"a\.png: must be the key of .*, got two: of a\.png and a\.png \('one' and 'two'\); .*",
        pictures(),
        write(
            "r.jsonl",
            "".join(
                json.dumps({"image": "a.png", "instruction": word}) + "\n"
                for word in ("one", "two")
            ),
        ),
    ),
]
PRESETS = r"presets: miniature \(for trying: .*\); paper \(InstructPix2Pix's .*\)"
EDITORS = [
    case(
        "no preset for pictures",
        ALL.replace("--preset miniature ", ""),
        rf"--preset or --config: must be given for pictures of your own, got neither; {PRESETS}",
        pictures(),
    ),
    case(
        "a text-to-image model as an editor",
        f"{ALL} --set recipe.ip2p.model.source=miniature",
        r"miniature: an editor's UNet must have 8 input channels, got 4; .*",
        pictures(),
    ),
    case(
        "sdedit without a caption",
        f"{ALL} --editor sdedit",
        r"--editor sdedit: needs target_caption, got none",
        pictures(),
    ),
    case(
        "another editor for all",
        f"{ALL} --editor paint",
        r"--editor: recipe\.editor: .*'ip2p', 'sdedit', 'p2p' or 'pnp', got \"paint\"",
        pictures(),
    ),
    case(
        "p2p without what the picture shows",
        f"{ALL} --editor p2p",
        r"--editor p2p: needs source_caption and target_caption, got none",
        pictures(),
    ),
    case(
        "layers that the network has not",
        f"{EDIT} --images in --target-caption x --editor pnp "
        "--set recipe.pnp.feature_layers=[up.3.1]",
        r"recipe\.pnp\.feature_layers: must be among the network's up\.0\.0, .*, got 'up\.3\.1'",
        pictures(),
    ),
    case(
        "an inversion that passes over steps",
        f"{ALL} --set recipe.p2p.inversion_steps=30",
        r"--set: recipe\.p2p: .*inversion_steps must pass every step of 25, got 30; 25 do",
        pictures(),
    ),
    case(
        "a benchmark's list without pictures",
        f"{EDIT} --requests r.yaml --editor pnp",
        r'r\.yaml: entry 1: field "init_img": expected a picture beside the list, got \'/x/a\.png\' .*',
        write("r.yaml", "- {init_img: /x/a.png, target_prompts: [a red star]}\n"),
    ),
    case(
        "a strength of nothing",
        f"{ALL} --set recipe.sdedit.strength=0",
        r"--set: recipe\.sdedit\.strength: .* greater than 0, got 0",
        pictures(),
    ),
]
EDITS = [*PLACES, *REQUESTS, *EDITORS]
