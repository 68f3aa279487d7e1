"""A page on which people compare edits without knowing whose they are, and what their answers say.

Order and sides are drawn by hash, so that the same evaluation gives the same page; who is where stands in
a key beside it. The page is one file: pictures, style and script are in it, and it asks no network.
"""

import base64
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import combinations
from pathlib import Path

from PIL import Image
from pydantic import ValidationError

from factory.errors import InputError, first_line
from factory.miniature.wilson import wilson
from factory.pictures import Picture
from schemas.canonical import content_hash
from schemas.evaluation import Answers, Entrant, EvaluationItem, Key, Question, Side

MOST_BYTES = 2**24
"""Of a file of answers."""
SMALL_PX = 192
"""Smaller pictures are PNG, and shown larger pixel by pixel."""
QUALITY = 95
"""Of the JPEG (4:4:4) of others."""

Settings = Mapping[str, Mapping[str, float | None]]
"""Of each entrant the setting at which it is shown."""


def ask(recipe_hash: str, numbers: Iterable[int], settings: Settings) -> Key:
    """A question for each picture and each two entrants, in an order that tells nothing.

    Other pictures are another page, so that nobody's answers to one are taken for answers to the other.
    """
    numbers = list(numbers)
    sides = {name: Side(entrant=name, **setting) for name, setting in settings.items()}
    asked = [side.identity() for side in sides.values()]
    page = content_hash([recipe_hash, asked, numbers])[:16]
    questions = []
    for number in numbers:
        for names in combinations(sides, 2):
            drawn = hashlib.sha256(f"{page}|{number}|{names[0]}|{names[1]}".encode()).digest()
            first, second = names if drawn[8] % 2 else names[::-1]
            questions.append(
                Question(
                    question=drawn[:8].hex(),
                    number=number,
                    left=sides[first],
                    right=sides[second],
                )
            )
    questions.sort(key=lambda one: one.question)
    return Key(page=page, recipe=recipe_hash, questions=tuple(questions))


def settings_of(
    entrants: Sequence[Entrant], chosen: Mapping[str, float], middle: Settings
) -> dict[str, dict[str, float | None]]:
    """Each entrant's setting: the one whose swept value is chosen, else the one in the middle.

    Raises `InputError` for a value that its curve does not pass through.
    """
    found = {}
    for entrant in entrants:
        setting = dict(middle[entrant.name])
        if entrant.name in chosen:
            value = chosen[entrant.name]
            values = entrant.sweep.values if entrant.sweep else ()
            if entrant.sweep is None or value not in values:
                there = ", ".join(f"{v:g}" for v in values) or "none"
                raise InputError(f"--at {entrant.name}={value:g}: must be one of {there}")
            setting = {**dict.fromkeys(setting), entrant.sweep.parameter: value}
        found[entrant.name] = setting
    return found


@dataclass(frozen=True)
class Shown:
    """What a page shows of a picture."""

    item: EvaluationItem
    before: Picture
    edits: Mapping[str, Picture]
    """By entrant."""


def page(key: Key, shown: Mapping[int, Shown]) -> str:
    """The page; questions of which an edit is not there are left out."""
    asked = [
        _question(place, one, shown[one.number])
        for place, one in enumerate(answerable(key, shown), start=1)
    ]
    script = _SCRIPT.replace("@PAGE@", key.page)
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {
        "ALLOWED": allowed,
        "QUESTIONS": "\n".join(asked),
        "COUNT": str(len(asked)),
        "SCRIPT": script,
    }
    # In one pass: strangers' words may name a place, too.
    return re.sub(f"@({'|'.join(parts)})@", lambda found: parts[found[1]], _PAGE)


def answerable(key: Key, shown: Mapping[int, Shown]) -> list[Question]:
    """The questions of which both edits are there."""
    return [
        one
        for one in key.questions
        if one.number in shown
        and {one.left.entrant, one.right.entrant} <= shown[one.number].edits.keys()
    ]


def _question(place: int, question: Question, shown: Shown) -> str:
    item, name = shown.item, question.question
    words = item.instruction or item.target_caption or ""
    choices = "".join(
        f'<label><input type="radio" name="{name}" value="{value}">{words}</label>'
        for value, words in (("left", "left"), ("neither", "no difference"), ("right", "right"))
    )
    figures = "".join(
        f"<figure>{_img(picture, words)}<figcaption>{words}</figcaption></figure>"
        for words, picture in (
            ("the picture", shown.before),
            ("left", shown.edits[question.left.entrant]),
            ("right", shown.edits[question.right.entrant]),
        )
    )
    return (
        f'<section id="q{name}"><h2>{place}. {escape(words)}</h2>{figures}'
        f"<p>Which did as it was told and kept the rest? {choices}</p></section>"
    )


def _img(picture: Picture, words: str) -> str:
    """The picture within the page; a small one with its pixels as squares."""
    image, sink = Image.fromarray(picture), io.BytesIO()
    small = max(image.size) < SMALL_PX
    if small:
        image.save(sink, "PNG")
    else:
        image.save(sink, "JPEG", quality=QUALITY, subsampling=0)
    kind, look = ("png", ' class="small"') if small else ("jpeg", "")
    data = base64.b64encode(sink.getvalue()).decode()
    return f'<img{look} src="data:image/{kind};base64,{data}" alt="{words}">'


_SCRIPT = """
const page = "@PAGE@", place = "editmill " + page;
const fresh = () => ({page, sheet: crypto.randomUUID ? crypto.randomUUID()
  : Array.from(crypto.getRandomValues(new Uint8Array(16)), b => b.toString(16).padStart(2, "0")).join(""),
  answers: {}});
let held = fresh();
try { held = JSON.parse(localStorage.getItem(place)) || held; } catch (error) { }
const count = () => {
  document.getElementById("done").textContent = Object.keys(held.answers).length;
};
for (const [question, answer] of Object.entries(held.answers)) {
  const name = `input[name="${CSS.escape(question)}"]`;
  const box = document.querySelector(`${name}[value="${CSS.escape(answer)}"]`);
  if (box) box.checked = true;
}
document.addEventListener("change", event => {
  held.answers[event.target.name] = event.target.value;
  try { localStorage.setItem(place, JSON.stringify(held)); } catch (error) { }
  count();
});
document.getElementById("save").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(held)], {type: "application/json"}));
  link.download = `answers-${page}-${held.sheet.slice(0, 8)}.json`;
  link.click();
});
count();
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'; script-src 'sha256-@ALLOWED@'">
<meta name="viewport" content="width=device-width">
<title>Which edit is better?</title>
<style>
body { font: 16px sans-serif; margin: 0 auto; max-width: 62rem; padding: 1rem; color: #222; }
section { border-top: 1px solid #ccc; padding: 0.5rem 0 1rem; }
h2 { font-size: 1.1rem; }
figure { display: inline-block; margin: 0 1% 0 0; width: 31%; }
img { width: 100%; }
img.small { image-rendering: pixelated; }
figcaption { color: #666; text-align: center; }
label { margin-left: 1rem; }
header { position: sticky; top: 0; background: #fff; padding: 0.5rem 0; }
</style>
</head>
<body>
<header><span id="done">0</span> of @COUNT@ answered
<button id="save">save the answers</button></header>
<p>Each picture was edited twice, by two programs; which is on the left was drawn by lot. Answers stay in
this browser until you save them as a file, which you then send to whoever asked you.</p>
@QUESTIONS@
<script>@SCRIPT@</script>
</body>
</html>
"""


def read_answers(path: Path, key: Key) -> Answers:
    """A file that was saved from a page. Raises `InputError` where it is of another page, or none."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path}: must have at most {MOST_BYTES} bytes, got more")
        found = Answers.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))[:60]
        raise InputError(f"{path}: must be answers of a page: {where}: {problem['msg']}") from None
    except ValueError as error:
        raise InputError(f"{path}: must be answers of a page: {first_line(error)}") from None
    if found.page != key.page:
        raise InputError(
            f"{path}: must be of the page {key.page} that this key belongs to, got {found.page[:40]!r}"
        )
    known = {question.question for question in key.questions}
    strange = next((name for name in found.answers if name not in known), None)
    if strange is not None:
        raise InputError(f"{path}: must answer questions of its page, got {strange[:40]!r}")
    return found


@dataclass(frozen=True)
class Preference:
    """What people said of two entrants; `share` is the first one's of the answers that prefer one."""

    entrant: str
    than: str
    preferred: int
    against: int
    neither: int
    share: float | None
    low: float | None
    high: float | None
    """Wilson's interval of 95 %, for as many trials as there are answers that prefer one."""


def preferences(key: Key, sheets: Iterable[Answers]) -> list[Preference]:
    """Each two entrants both ways, over all answers; a sheet that comes twice counts once."""
    of = {question.question: question for question in key.questions}
    won: Counter[tuple[str, str]] = Counter()
    even: Counter[tuple[str, str]] = Counter()
    pairs = {(q.left.entrant, q.right.entrant) for q in key.questions}
    pairs |= {pair[::-1] for pair in pairs}
    for sheet in {one.sheet: one for one in sheets}.values():
        for name, answer in sheet.answers.items():
            sides = of[name].left.entrant, of[name].right.entrant
            if answer == "neither":
                even.update([sides, sides[::-1]])
            else:
                won[sides if answer == "left" else sides[::-1]] += 1
    found = []
    for one, other in sorted(pairs):
        ours, theirs = won[one, other], won[other, one]
        decided = ours + theirs
        share = round(ours / decided, 4) if decided else None
        low, high = wilson(ours / decided, decided) if decided else (None, None)
        bounds = [None if bound is None else round(bound, 4) for bound in (low, high)]
        found.append(
            Preference(one, other, ours, theirs, even[one, other], share, bounds[0], bounds[1])
        )
    return found
