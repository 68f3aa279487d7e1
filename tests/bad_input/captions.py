"""Captions: lists, recipes, servers. What is wrong with a single reply is an outcome of its instruction."""

import atexit
import json
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from tests.bad_input.materials import Step, parquet, write
from tests.bad_input.table import Case, case
from tests.factory.captions.language_server import Says, language_server

CAPTIONS = "captions --json --preset openai --set compute.where=here --out out --captions"
ONE = '{"caption": "a red door"}\n'
BAD = r" \(1 bad line, --max-bad is 0\)"


def listed(id: str, content: str | bytes, message: str, name: str = "c.jsonl") -> Case:
    return case(id, f"{CAPTIONS} {name}", message, write(name, content))


def told(id: str, options: str, message: str, **fields: object) -> Case:
    return case(id, f"{CAPTIONS} c.jsonl {options}", message, write("c.jsonl", ONE), **fields)


LISTS = [
    case("a missing list of captions", f"{CAPTIONS} c.jsonl", r"c\.jsonl: no such file"),
    listed(
        "an empty list of captions", "", r"c\.jsonl: must hold at least one caption, got 0 .* lines"
    ),
    listed(
        "a text of blank lines", b"\n \n", r"c\.txt: must hold at least one caption, .*", "c.txt"
    ),
    listed(
        "a list without captions",
        '{"words": "a"}\n',
        rf"c\.jsonl:1: expected a column of caption, TEXT, text, .*, got 'words'{BAD}",
    ),
    listed(
        "CSV without captions",
        "a,b\n1,2\n",
        r"c\.csv: must have columns caption, TEXT, text, input, got 'a, b'",
        "c.csv",
    ),
    listed(
        "Parquet without captions",
        parquet(words=["a"]),
        r"c\.parquet: must have columns caption, TEXT, text, input, got 'words'",
        "c.parquet",
    ),
    told(
        "a column that is not there",
        "--column words",
        rf"c\.jsonl:1: expected a column of words, got 'caption'{BAD}",
    ),
    listed(
        "a number as a caption",
        '{"caption": 7}\n',
        rf'c\.jsonl:1: field "caption": expected non-empty text, got 7{BAD}',
    ),
    listed(
        "a caption that is null",
        '{"caption": null}\n',
        rf'c\.jsonl:1: field "caption": expected non-empty text, got null{BAD}',
    ),
    listed(
        "a caption of blanks",
        '{"caption": " "}\n',
        rf"c\.jsonl:1: field \"caption\": expected non-empty text, got ' '{BAD}",
    ),
    listed(
        "half a surrogate pair in a caption",
        '{"caption": "a \\ud83d"}\n',
        rf'c\.jsonl:1: field "caption": must be text, got half a surrogate pair{BAD}',
    ),
    listed(
        "a caption of 100 kB",
        json.dumps({"caption": "x" * 100_001}),
        rf'c\.jsonl:1: field "caption": must be at most 100000 bytes, got 100001{BAD}',
    ),
    listed(
        "bad UTF-8 in a text",
        b"a\n\xff\n",
        rf"c\.txt:2: must be UTF-8, got byte 0xff at 0{BAD}",
        "c.txt",
    ),
    listed(
        "a line of 2 MB in a text",
        b"a" * 2_000_000,
        r"c\.txt:1: line must be at most 1000000 bytes, got more",
        "c.txt",
    ),
    case(
        "scores that leave nothing",
        f"{CAPTIONS} c.jsonl --least-aesthetic 6.5",
        r"c\.jsonl: must hold at least one caption, got 0 usable lines, 1 left out by their score or mark",
        write("c.jsonl", '{"TEXT": "a red door", "AESTHETIC_SCORE": 6.4}\n'),
    ),
]
PRESETS = r"presets: miniature \(for trying: .*\); openai \(a chat .*\); paper \(.*\); vllm \(.*\)"
RECIPES = [
    case(
        "no preset for captions",
        f"{CAPTIONS} c.jsonl".replace("--preset openai ", ""),
        rf"--preset or --config: must be given for a language model, got neither; {PRESETS}",
        write("c.jsonl", ONE),
    ),
    told(
        "an unknown preset for captions",
        "--preset gpt",
        r"--preset: must be one of miniature, openai, paper, vllm, got 'gpt'",
    ),
    told(
        "an unknown form of prompts",
        "--set recipe.form=xml",
        r"--set: recipe\.form: Input should be 'chat' or 'completion', got \"xml\"",
    ),
    told(
        "kinds of edits with nothing to share",
        "--set 'recipe.kinds={season: 0}'",
        r"--set: recipe\.kinds: shares must be 0 or more, and some above 0, got {\"season\": 0}",
    ),
    told(
        "near-duplicates of everything",
        "--set recipe.near_duplicates=0",
        r"--set: recipe\.near_duplicates: Input should be greater than 0, got 0",
    ),
    told(
        "a limit of money without prices",
        "--set budget.max_money=3",
        r"--set: budget: max_money must come with price_in and price_out, got none",
    ),
    told(
        "a server by another protocol",
        "--base-url ftp://host/v1",
        r"--base-url: compute\.server\.base_url: .*, got \"ftp://host/v1\"",
    ),
    told(
        "a password in a server's address",
        "--base-url https://me:canary@host/v1",
        r"--base-url: compute\.server\.base_url: must hold no secret, got one by its look; .*",
    ),
    told(
        "a key as the name of its variable",
        "--set compute.server.key_variable=sk-abcdefghijklmnopqrstuvwxyz0123456789ABCD",
        r"--set: compute\.server\.key_variable: must hold no secret, got one by its look; .*",
    ),
    told(
        "a key in the configuration",
        "--set compute.server.api_key=x",
        r"--set: unknown key 'compute\.server\.api_key'; known: base_url, key_variable, .*",
    ),
]
BEGUN = ("out/",)
"""The run's recipe and its plan."""


@cache
def _server_that(status: int, body: bytes) -> str:
    """The address of one that says the same of everything, as long as this process lives."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(language_server(lambda path, asked: Says(status, {}, body))).url


def served(status: int, message: str, **error: str) -> Step:
    """A configuration with such a server; it waits for nothing."""
    body = json.dumps({"error": {"message": message, **error}}).encode()

    def lay_out() -> None:
        url = _server_that(status, body)
        server = {"base_url": url, "patience_s": 0}
        config = {"base": "openai", "compute": {"where": "here", "server": server}}
        Path("c.yaml").write_text(json.dumps(config))

    return lay_out


def answered(id: str, message: str, server: Step, **fields: object) -> Case:
    return case(
        id,
        "captions --json --config c.yaml --out out --captions c.jsonl",
        message,
        server,
        write("c.jsonl", ONE),
        told=True,
        leaves=BEGUN,
        **fields,
    )


HOST = r"http://127\.0\.0\.1:\d+/v1: "
SERVERS = [
    answered(
        "a key that its server does not take",
        HOST + r"must take the key in OPENAI_API_KEY, got status 401: .*no such key",
        served(401, "no such key"),
    ),
    answered(
        "a model that its server does not know",
        HOST + r"must know this model and path, got status 404: .*no such model",
        served(404, "no such model"),
    ),
    answered(
        "a server where no money is left",
        HOST + r"no money is left there: .*pay first",
        served(429, "pay first", code="insufficient_quota"),
    ),
]
ASKED = [*LISTS, *RECIPES, *SERVERS]
LATE = [
    told(
        "a device that is not here, for captions",
        "--set compute.device=mps",
        r"compute\.device: must be a device that torch finds here, got 'mps'",
    )
]
"""Refused once torch was asked."""
