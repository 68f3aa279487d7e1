"""Language models of one's own: lines for them, their tuning by a server and by `train-language`."""

import json

from tests.bad_input.materials import BAD, GOOD, write
from tests.bad_input.table import Case, case

PREPARE = "captions-prepare --json --out lines.jsonl --triplets"
FINETUNE = "captions-finetune --json --lines lines.jsonl --out out --model gpt-4o-mini"
TRAIN = "train-language --json --preset miniature --set compute.where=here --out out --lines lines.jsonl"
PAIR = '{"prompt": "a cat\\n##\\n", "completion": "make it a dog"}\n'


def lines(id: str, content: str, message: str) -> Case:
    return case(id, TRAIN, message, write("lines.jsonl", content))


PREPARING = [
    case("lines of a list that is missing", f"{PREPARE} t.jsonl", r"t\.jsonl: no such file"),
    case(
        "lines of a triplet without an instruction",
        f"{PREPARE} t.jsonl",
        r't\.jsonl:1: field "edit": .* \(1 bad line, --max-bad is 0\)',
        write("t.jsonl", BAD),
    ),
    case(
        "lines where another file stands",
        f"{PREPARE} t.jsonl",
        r"--out: must be a new file, got lines\.jsonl, which holds something else",
        write("t.jsonl", GOOD),
        write("lines.jsonl", "mine"),
    ),
]
TUNING = [
    case(
        "a tuning of lines that are missing",
        FINETUNE,
        r"--lines: must be a file of JSON lines, got lines\.jsonl",
    ),
    case(
        "a tuning beside text that says not how far it is",
        FINETUNE,
        r"out/finetuning\.json: must say how far a fine-tuning is, got other text",
        write("lines.jsonl", PAIR),
        write("out/finetuning.json", "{}"),
    ),
    case(
        "a tuning of another model",
        FINETUNE,
        r"out: holds a fine-tuning of other model, gpt-3; name another --out",
        write("lines.jsonl", PAIR),
        write("out/finetuning.json", json.dumps({"model": "gpt-3", "lines": "0"})),
    ),
]
LEARNING = [
    case(
        "no preset for a language model",
        TRAIN.replace("--preset miniature ", ""),
        r"--preset or --config: must be given for a language model, got neither; "
        r"presets: full \(.*\); lora \(.*\); miniature \(.*\)",
    ),
    case(
        "a LoRA without rows",
        f"{TRAIN} --set law.lora.rank=0",
        r"--set: law\.lora\.rank: Input should be greater than or equal to 1, got 0",
    ),
]
LATE = [
    case(
        "no lines to learn from", TRAIN, r"--lines: must be a file of JSON lines, got lines\.jsonl"
    ),
    lines(
        "lines that are empty",
        "\n",
        r"lines\.jsonl: must hold at least one line to learn from, got none",
    ),
    lines("a line that is no JSON", "{", r"lines\.jsonl:1: must be JSON, got b'{'"),
    lines(
        "a line without a reply",
        '{"prompt": "a"}\n',
        r"lines\.jsonl:1: must have `messages`, or `prompt` and `completion` as text, got prompt",
    ),
    lines(
        "a chat that ends with a question",
        '{"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]}\n',
        r"lines\.jsonl:1: messages must be of `role` and `content`, the last of the assistant, got .*",
    ),
    case(
        "lines that are all too long",
        f"{TRAIN} --set law.tokens=16",
        r"lines\.jsonl: must hold at least one line to learn from, got none, 1 longer than law\.tokens, 16",
        write("lines.jsonl", PAIR.replace("a cat", "a cat " * 30)),
    ),
    case(
        "a batch that workers cannot share",
        f"{TRAIN} --set law.batch=3 --set compute.max_workers=2 --set compute.min_workers=2",
        r"law\.batch: must be a multiple of compute\.max_workers, got 3 and 2",
        write("lines.jsonl", PAIR),
    ),
    case(
        "fewer workers than transformers' trainer takes",
        f"{TRAIN} --set compute.max_workers=2",
        r"compute\.min_workers: must be max_workers, as transformers' trainer has no fewer, got 1 and 2",
        write("lines.jsonl", PAIR),
    ),
    case(
        "a language model that is not there",
        f"{TRAIN} --model ./none",
        r"\./none: no such file or folder, and not a hub id owner/name",
        write("lines.jsonl", PAIR),
    ),
    case(
        "a language model of the Hub without its commit",
        f"{TRAIN} --model gpt/two",
        r"gpt/two: no such folder here; a hub id needs `revision`, a commit of 40 hex digits, got None",
        write("lines.jsonl", PAIR),
    ),
    case(
        "a folder without a language model",
        f"{TRAIN} --model .",
        r"\.: must be a model's folder with config\.json, got lines\.jsonl",
        write("lines.jsonl", PAIR),
    ),
]
"""Refused once torch was imported: a tokenizer cuts the lines."""
EARLY = [*PREPARING, *LEARNING]
LATE += TUNING
