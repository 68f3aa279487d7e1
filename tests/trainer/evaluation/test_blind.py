"""The page on which people compare edits: what it shows, and what their answers say."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from factory.errors import InputError
from schemas.edits import KNOBS
from schemas.evaluation import Answers, Entrant, EvaluationItem
from trainer.evaluation.blind import (
    Shown,
    answerable,
    ask,
    page,
    preferences,
    read_answers,
    settings_of,
)

OWN = dict.fromkeys(KNOBS)
SETTINGS = {"ours": OWN | {"image_guidance": 1.4}, "theirs": OWN, "third": OWN}
HASH = "ab" * 32


def key_of(numbers=range(6), settings=SETTINGS):
    return ask(HASH, numbers, settings)


def item(number, instruction="make it red"):
    fields = dict.fromkeys(EvaluationItem.model_fields) | {
        "entrant": "ours",
        "number": number,
        "picture": str(number),
        "attempt": 0,
        "seed": number,
        "instruction": instruction,
    }
    return EvaluationItem(**fields)


def shown(numbers=range(6), size=(8, 8), **fields):
    def picture(shade):
        return np.full((*size, 3), shade, np.uint8)

    edits = {name: picture(10 * place) for place, name in enumerate(SETTINGS, start=1)}
    return {number: Shown(item(number, **fields), picture(200), edits) for number in numbers}


class Parsed(HTMLParser):
    """Tags with their attributes, and text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def test_each_two_editors_are_asked_of_each_picture_once():
    key = key_of()
    pairs = [(q.number, *sorted((q.left.entrant, q.right.entrant))) for q in key.questions]
    assert len(set(pairs)) == len(pairs) == 6 * 3
    assert len({q.question for q in key.questions}) == len(pairs)


def test_sides_and_order_are_drawn_and_the_same_each_time():
    key = key_of(range(200), {"ours": OWN, "theirs": OWN})
    assert key == key_of(range(200), {"ours": OWN, "theirs": OWN})
    left = sum(q.left.entrant == "ours" for q in key.questions)
    assert 75 < left < 125
    assert [q.number for q in key.questions] != sorted(q.number for q in key.questions)
    assert key.page != key_of(range(200), {"ours": OWN, "third": OWN}).page


def test_other_pictures_are_another_page_with_questions_of_its_own():
    few, many = (ask(HASH, range(count), SETTINGS) for count in (2, 3))
    assert few.page != many.page
    assert not {one.question for one in few.questions} & {one.question for one in many.questions}
    assert ask(HASH, range(2), SETTINGS) == few


def test_a_page_names_no_editor_and_no_setting():
    text = page(key_of(), shown())
    assert not re.search("ours|theirs|third|guidance|1\\.4", text)
    parsed = Parsed(text)
    # Whoever looks at the source sees the pictures alone: three of each question.
    images = [attrs["src"] for tag, attrs in parsed.tags if tag == "img"]
    assert len(images) == 18 * 3
    assert all(source.startswith("data:image/png;base64,") for source in images)
    assert "18 answered" in "".join(parsed.text).replace("of ", "")


def test_a_page_asks_no_network():
    text = page(key_of(), shown())
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|src=\"(?!data:)|@\w+@", text)


def test_strangers_words_are_text():
    words = '</script><img src=x onerror="alert(1)"> @SCRIPT@ & \'"'
    parsed = Parsed(page(key_of(range(1)), shown(range(1), instruction=words)))
    assert "".join(parsed.text).count(words) == 3
    assert [attrs for tag, attrs in parsed.tags if "onerror" in attrs] == []
    assert len([tag for tag, _ in parsed.tags if tag == "script"]) == 1


def test_large_pictures_are_jpeg():
    text = page(key_of(range(1)), shown(range(1), size=(200, 40)))
    assert text.count("data:image/jpeg;base64,") == 9


def test_a_question_whose_edit_is_not_there_is_not_asked():
    pictures = shown()
    lacking = {n: e for n, e in pictures[0].edits.items() if n != "third"}
    pictures[0] = Shown(pictures[0].item, pictures[0].before, lacking)
    assert len(answerable(key_of(), pictures)) == 18 - 2
    assert page(key_of(), pictures).count("<section") == 16


def answered(key, who, sheet="0" * 8, only=None):
    """Whoever prefers an editor wherever it is shown."""
    answers = {}
    for question in key.questions:
        sides = {question.left.entrant: "left", question.right.entrant: "right"}
        if only is None or set(sides) == only:
            answers[question.question] = sides.get(who, "neither")
    return Answers(page=key.page, sheet=sheet, answers=answers)


def test_answers_are_read_back_with_the_sides_undone():
    key = key_of()
    found = {(one.entrant, one.than): one for one in preferences(key, [answered(key, "ours")])}
    assert len(found) == 6
    ours = found["ours", "theirs"]
    assert (ours.preferred, ours.against, ours.neither, ours.share) == (6, 0, 0, 1.0)
    # Wilson 1927, of 6 in 6.
    assert (ours.low, ours.high) == (0.6097, 1.0)
    assert found["theirs", "ours"].share == 0.0
    even = found["theirs", "third"]
    assert (even.preferred, even.neither, even.share, even.low) == (0, 6, None, None)


def test_several_people_add_up_and_one_who_is_read_twice_counts_once():
    key = key_of(settings={"ours": OWN, "theirs": OWN})
    sheets = [answered(key, "ours", "1" * 8), answered(key, "theirs", "2" * 8)]
    one, other = preferences(key, [*sheets, sheets[0]])
    assert (one.preferred, one.against, one.share) == (6, 6, 0.5)
    assert (other.preferred, other.against) == (6, 6)


def test_what_a_page_saves_is_read(tmp_path):
    key = key_of()
    file = tmp_path / "answers.json"
    # As the page's script writes it.
    first = key.questions[0].question
    sheet = "01234567-89ab-cdef-0123-456789abcdef"
    file.write_text(json.dumps({"page": key.page, "sheet": sheet, "answers": {first: "left"}}))
    assert read_answers(file, key).answers == {first: "left"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "must be answers of a page: .*Invalid JSON"),
        ("[]", "must be answers of a page"),
        ('{"page": "PAGE", "sheet": "../../etc", "answers": {}}', "answers of a page: sheet: "),
        ('{"page": "PAGE", "sheet": "00000000", "answers": {"a": "up"}}', "answers.a: Input"),
        ('{"page": "other", "sheet": "00000000", "answers": {}}', "must be of the page .*'other'"),
        (
            '{"page": "PAGE", "sheet": "00000000", "answers": {"a": "left"}}',
            "must answer questions of its page, got 'a'",
        ),
    ],
)
def test_what_is_no_answer_is_refused(text, words, tmp_path):
    key = key_of()
    file = tmp_path / "answers.json"
    file.write_text(text.replace("PAGE", key.page))
    with pytest.raises(InputError, match=words):
        read_answers(file, key)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_answers(tmp_path / "none", key)


def entrants():
    edits = {"ip2p": {"model": {"source": "m"}}}
    sweep = {"parameter": "image_guidance", "values": (1.0, 1.4)}
    return [
        Entrant(name="ours", edits=edits, sweep=sweep),
        Entrant(name="theirs", edits=edits),
    ]


def test_an_editor_is_shown_at_a_point_of_its_curve():
    middles = {"ours": OWN | {"image_guidance": 1.4}, "theirs": OWN}
    assert settings_of(entrants(), {}, middles) == middles
    found = settings_of(entrants(), {"ours": 1.0}, middles)
    assert found["ours"] == OWN | {"image_guidance": 1.0}
    with pytest.raises(InputError, match="--at ours=3: must be one of 1, 1.4"):
        settings_of(entrants(), {"ours": 3.0}, middles)
    with pytest.raises(InputError, match="--at theirs=1: must be one of none"):
        settings_of(entrants(), {"theirs": 1.0}, middles)
