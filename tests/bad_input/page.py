"""Write docs/bad-input.md, a page of all cases, by running each: `python -m tests.bad_input.page`."""

import os
import re
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.bad_input import captions, command_lines, configs, edits, evaluations, exports, language
from tests.bad_input.checkpoints import CHECKPOINTS
from tests.bad_input.lists import LISTS
from tests.bad_input.runs import RUNS
from tests.bad_input.s3 import S3, emulator, refused_by_s3
from tests.bad_input.table import Case, refused
from tests.bad_input.test_accepted import ACCEPTED
from tests.bad_input.test_trained import TRAINED
from tests.bad_input.trainings import OPTIONS, TRAININGS
from tests.bad_input.unfitting import UNFITTING
from tests.factory.edits.broken import ABSENT, BROKEN, LOST

PAGE = Path(__file__).parents[2] / "docs" / "bad-input.md"
SECTIONS: dict[str, list[Case]] = {
    "Lists of triplets": LISTS,
    "Configurations": [*configs.CONFIGS, *configs.LATE],
    "Models": [*CHECKPOINTS, *UNFITTING],
    "Stores and runs": RUNS,
    "Buckets": S3,
    "Options and other files": [*command_lines.COMMAND_LINES, *command_lines.LATE],
    "Training": [*OPTIONS, *TRAININGS],
    "Bulk edits": [*edits.EDITS, *edits.LATE],
    "Captions": [*captions.ASKED, *captions.LATE],
    "Evaluations": [*evaluations.EVALUATIONS, *evaluations.LATE],
    "Exports": exports.EXPORTS,
    "Language models": [*language.EARLY, *language.LATE],
}
LETTERS = "LCMSBOTEWVXG"
LONGEST = 110
LONGEST_KEY = 24
INTRODUCTION = """\
# Bad input

What an operator can get wrong, and what is said of it: one line on stderr, *where, rule, got*, with
the remedy where it is not plain. `tests/bad_input` holds each row to its exit code and message, and
looks at every file and object before and after: nothing that was there changes, and what is *left*
is nothing, or the record of a training or a run that could not go on (the few bytes by which a store is
tried are removed again). No GPU is touched: all but the last rows of *Configurations*, *Options*,
*Bulk edits*, *Captions* and *Evaluations* and most of *Language models* and *Training* are refused before
torch or Ray is imported.
Exit code 2 asks for another input, 3 says that something stored is damaged, unfinished or not to be
reached, 4 that the work itself must not go on.

The page is written by `python -m tests.bad_input.page`. Long messages are cut, folders and hashes
are shown as `…`; of what the parser of options refuses, the name that it gives is shown.
"""


def numbered() -> Iterator[tuple[str, str, Case]]:
    """Section, number and case, in the page's order."""
    for letter, (title, cases) in zip(LETTERS, SECTIONS.items(), strict=True):
        for number, case in enumerate(cases, start=1):
            yield title, f"{letter}{number}", case


def row(number: str, case: Case) -> str:
    """The cells of a case before its message."""
    left = ", ".join(case.leaves) or "nothing"
    return f"| {number} | {case.id} | {case.code} | {left} | "


def accepted_rows() -> list[str]:
    return [
        "| A{} | {} | {}, {}, {} |".format(number, of.id, *of.values[2])
        for number, of in enumerate(ACCEPTED, start=1)
    ]


def trained_rows() -> list[str]:
    return [
        "| F{} | {} | {}, {}, {} |".format(number, of.id, *of.values[2])
        for number, of in enumerate(TRAINED, start=1)
    ]


def broken_rows() -> list[str]:
    return [
        f"| R{number} | {one.what} | `{_short(one.key)}: … {one.reason}` |"
        for number, one in enumerate([*BROKEN, *LOST, *ABSENT], start=1)
    ]


def _short(key: str) -> str:
    key = key.replace("\t", "\\t")
    return key if len(key) <= LONGEST_KEY else key[:LONGEST_KEY] + "…"


def shown(message: str, folder: str) -> str:
    message = re.sub(r"(127\.0\.0\.1):\d+", r"\1:…", message)
    text = re.sub(r"[0-9a-f]{16,}", "…", message.replace(os.path.realpath(folder), "…"))
    text = re.sub(r"(.)\1{40,}", r"\1…", text)
    text = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return "`` " + text.replace("|", "\\|") + " ``"


def write_page() -> None:
    lines = [INTRODUCTION]
    section = ""
    with emulator() as access:
        for title, number, case in numbered():
            with (
                TemporaryDirectory() as folder,
                chdir(folder),
                pytest.MonkeyPatch.context() as patch,
            ):
                patch.delenv("RAY_ADDRESS", raising=False)
                said = refused_by_s3(case, access, patch) if case in S3 else refused(case)
                message = shown(said, folder)
            if title != section:
                lines += [*[""] * bool(section), f"## {title}\n"]
                lines += ["| # | input | exit | left | message |", "|" + "---|" * 5]
                section = title
            lines.append(row(number, case) + message + " |")
    lines += [
        "\n## Read all the same\n",
        "| # | list | triplets, duplicates, bad |",
        "|---|---|---|",
    ]
    lines += accepted_rows()
    lines += [
        "\n## Trained on all the same\n",
        "| # | what is there | first step, last step, unreadable rows |",
        "|---|---|---|",
    ]
    lines += trained_rows()
    lines += [
        "\n## Rows of edits that failed\n",
        "What is wrong with one picture of many stops nothing: it is a row of the results.\n",
        "| # | object | what its row says |",
        "|---|---|---|",
    ]
    PAGE.write_text("\n".join([*lines, *broken_rows()]) + "\n")


if __name__ == "__main__":
    write_page()
