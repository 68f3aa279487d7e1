"""Lists that are only untidy: read, counted, and made from; numbers that look odd."""

import json
import re
import shlex
from pathlib import Path

import pytest

from editmill import app
from factory.console.config import read_config
from factory.errors import ConfigError
from factory.models.find import MINIATURE
from schemas.training.fit import Fit
from tests.bad_input.materials import BAD, GOOD, OTHER, write
from tests.bad_input.table import PLAN
from trainer.__main__ import PRESETS

CAPTIONED = '{"caption": "a cat", "edit": "make it a dog", "output": "a dog"}\n'
URL = '{"input": "a cow", "edit": "a pig", "output": "a pig", "url": "https://host/x.jpg"}\n'
INVISIBLE = GOOD.replace("a dog", "a\\u200b \\u202edog\\u0007")
NAMED = GOOD[:-2] + ', "id": "../../etc/passwd"}\n'


ACCEPTED = [
    pytest.param(URL + OTHER, "", (2, 0, 0), r"", id="the published list"),
    pytest.param(CAPTIONED, "", (1, 0, 0), r"", id="the published training file"),
    pytest.param("\ufeff" + GOOD, "", (1, 0, 0), r"", id="a byte order mark"),
    pytest.param((GOOD + OTHER).replace("\n", "\r\n"), "", (2, 0, 0), r"", id="CRLF"),
    pytest.param(f"\n{GOOD}\n \n{OTHER}\n\n", "", (2, 0, 0), r"", id="blank lines"),
    pytest.param(GOOD + OTHER[:-1], "", (2, 0, 0), r"", id="no line feed at the end"),
    pytest.param(GOOD.replace("a cat", "a  cat "), "", (1, 0, 0), r"", id="double blanks"),
    pytest.param(INVISIBLE, "", (1, 0, 0), r"", id="letters that do not show, among others"),
    pytest.param(NAMED, "", (1, 0, 0), r"", id="fields that mean nothing here"),
    pytest.param(
        GOOD + CAPTIONED + OTHER + GOOD,
        "",
        (2, 2, 0),
        r"2 duplicate triplets collapsed\n",
        id="duplicates",
    ),
    pytest.param(
        GOOD + GOOD[:-2] + ', "edit_kind": "shape"}',
        "",
        (1, 1, 0),
        r"1 duplicate triplet collapsed\n",
        id="the same words with another kind",
    ),
    pytest.param(
        '{"input": null, "caption": "a cat", "edit_prompt": "b", "edit": null, "output": "c"}\n'
        '{"original_prompt": " ", "input": "a cow", "edit": "b", "edited_prompt": "c", "output": ""}\n',
        "",
        (2, 0, 0),
        r"",
        id="two dialects joined",
    ),
    pytest.param(
        GOOD[:-2] + ', "url": "", "edit_kind": " "}\n' + GOOD,
        "",
        (1, 1, 0),
        r"1 duplicate triplet collapsed\n",
        id="optional fields that say nothing",
    ),
    pytest.param(
        '\ufeffid,caption,edit,output,url\r\n1,a cat,"make it ""big"", now",a\u00a0big cat,\r\n\r\n2,'
        '"a\ncat",b,c,x\r\n',
        "",
        (2, 0, 0),
        r"",
        id="CSV",
    ),
    pytest.param(
        "edited_prompt\tedit_prompt\toriginal_prompt\na; dog\tb, c\ta cat\n",
        "",
        (1, 0, 0),
        r"",
        id="values parted by tabs",
    ),
    pytest.param(
        "input;edit;output\na;b\nc;d;e\n;f;g\n",
        "--max-bad 2",
        (1, 0, 2),
        r'skipped: t\.jsonl:2: must have 3 .*, got 2\nskipped: t\.jsonl:4: field "input": .*, got null\n',
        id="bad rows of CSV within --max-bad",
    ),
    pytest.param(
        BAD + GOOD + "{\n",
        "--max-bad 2",
        (1, 0, 2),
        r'skipped: t\.jsonl:1: field "edit": .*, got null\nskipped: t\.jsonl:3: must .*\n',
        id="bad lines within --max-bad",
    ),
]
"""A list, its options, how many triplets, duplicates and bad lines it holds, and what is said."""


@pytest.mark.parametrize(("content", "options", "counts", "said"), ACCEPTED)
def test_a_list_that_is_only_untidy_is_read(
    content: str,
    options: str,
    counts: tuple[int, int, int],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write("t.jsonl", content)()
    with pytest.raises(SystemExit) as ended:
        app(shlex.split(f"{PLAN} t.jsonl {options}"))
    out, err = capsys.readouterr()
    assert ended.value.code == 0
    found = json.loads(out)
    assert (found["triplets"], found["duplicates"], found["bad_lines"]) == counts
    assert re.fullmatch(said, err)


@pytest.mark.parametrize("name", ["t.txt", "t.jsonl.gz", "t.parquet", "my list"])
def test_a_list_is_known_by_its_content_and_not_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(name, GOOD)()
    with pytest.raises(SystemExit) as ended:
        app(shlex.split(f"{PLAN} '{name}'"))
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["triplets"] == 1


@pytest.mark.skipif(not MINIATURE.is_dir(), reason="the miniature's weights are not here")
def test_a_prompt_longer_than_the_text_encoders_limit_is_cut_and_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    long = "a small red circle on a white background " * 3
    write("t.jsonl", GOOD + GOOD.replace("a dog", long))()
    settings = "compute.where=here", "compute.threads=1", "recipe.steps=1", "recipe.candidates=1"
    options = " ".join(f"--set {setting}" for setting in settings)
    with pytest.raises(SystemExit) as ended:
        app(
            shlex.split(
                f"generate --preset miniature --json --triplets t.jsonl --out run {options}"
            )
        )
    # Nothing that one step makes passes a gate.
    assert ended.value.code == 4
    state = json.loads(capsys.readouterr().out)
    tally = state["counts"]
    assert (tally["accepted"] + tally["rejected"], tally["failed"]) == (2, 0)
    assert state["truncated"] == 1


@pytest.mark.parametrize(
    ("setting", "value"),
    [("learning_rate=1e-5", 1e-5), ("steps=010", 10), ("steps=0o10", 8)],
)
def test_numbers_of_a_configuration_are_what_they_look_like(setting, value):
    """Not those of YAML 1.1, in which 1e-5 is a word and 010 is eight."""
    law = read_config(Fit, PRESETS, "miniature", None, [f"law.{setting}"]).law
    assert getattr(law, setting.partition("=")[0]) == value


def test_no_is_a_word_and_no_answer():
    with pytest.raises(ConfigError, match='watching.tensorboard: .* a valid boolean, got "no"'):
        read_config(Fit, PRESETS, "miniature", None, ["watching.tensorboard=no"])
