"""Whether an instruction gives the edited caption, and is one that Prompt-to-Prompt can do: by rules alone.

No language is understood here. Words that a caption lost and gained are set beside the words of the
instruction; what is asked of the picture's layout is told by phrases. A rule that is not sure lets pass: a
wrong instruction costs candidates, a right one that is refused is lost.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from factory.captions.checks.attributes import are_attributes, are_named, attributes, is_undone
from factory.captions.prompts import Suggestion
from factory.prompt_text import told_text

MOVES, COUNTS, CAMERA, LETTERING = "moves", "counts", "camera", "lettering"
SEVERAL, UNTOLD, REVERSED, ANOTHER = "several", "untold", "reversed", "another_scene"
UNDONE = "undone"

_NUMBER = r"(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozens?|\d+)"
IMPOSSIBLE: dict[str, Sequence[str]] = {
    MOVES: (
        r"(?:move|shift|slide|relocate|rearrange|reposition|rotate|flip|mirror|tilt)\b",
        r"(?:swap|switch|change|trade) (?:the )?(?:places|positions|sides)",
        r"(?:turn|face|look|walk|point)\w* (?:around|away|left|right|backwards?|the other way)",
        r"(?:to|on|onto|from) the (?:far )?(?:left|right|other side)",
        r"(?:upside down|closer together|further apart|back to back|on top of each other)",
        r"(?:raise|lower|lift) (?:his|her|its|their|an? (?:hand|arm|leg))\b",
    ),
    COUNTS: (
        rf"{_NUMBER} (?:more|fewer|less|additional|extra|of (?:the|them))\b",
        rf"(?:only|just|exactly) (?:one|{_NUMBER})\b",
        rf"(?:add|have|leave|keep|show|make (?:it|them|there(?: be)?)) {_NUMBER}\b",
        r"(?:another|one more|one less|an extra|double the|twice as many|half of the|one of the)\b",
        r"(?:more|fewer|less) (?:of them|people|\w+s)\b",
        r"(?:remove|take away) (?:one|some|half|all but)\b",
        r"(?:duplicate|copies of)\b",
    ),
    CAMERA: (
        r"(?:zoom|camera|crop|perspective|close[- ]?up|bird'?s[- ]eye|worm'?s[- ]eye)\b",
        r"(?:wide|aerial|low|high|dutch)[- ](?:angle|shot|view)",
        r"(?:viewed|view it|seen|see it|shot|show it|photographed) from\b",
        r"from (?:above|below|behind|the (?:side|top|front|back))\b",
        r"(?:pan (?:left|right|up|down|out)|step back|(?:another|different) angle)\b",
        r"wider (?:shot|view|frame)",
    ),
    LETTERING: (
        r"(?:write|spell|subtitle)\b",
        r"(?:text|words?|sign|caption|title|lettering|banner) (?:saying|reading|that (?:says|reads))",
        r"(?:add|put) (?:some |a |the )?(?:text|words|lettering|caption|title|subtitles?)\b",
        r"(?:says?|reads?|saying|reading) [\"']",
    ),
}
"""What no sharing of attention does: the layout stays as it was, and letters come out as none."""


def _any_of(phrases: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(rf"\b{phrase}" for phrase in phrases), re.IGNORECASE)


_PATTERNS = {name: _any_of(phrases) for name, phrases in IMPOSSIBLE.items()}
_VERBS = (
    "add|make|turn|change|replace|swap|put|remove|give|paint|set|let|convert|transform|have|colou?r|dress|"
    "place|take|delete|erase|fill|cover|show|render|draw|drape|light|switch"
)
_SEVERAL = re.compile(
    rf"(?:\band\b|\bthen\b|[,;]|\bas well as\b|\bwhile\b)\s+(?:also |then |please )?(?:{_VERBS})\b(?!-)"
    r"|\band the [\w ]+ (?:should|must) \b",
    re.IGNORECASE,
)
"""A second thing to do, with a verb of its own."""
_REMOVAL = _any_of(
    (
        r"(?:remove|without|delete|erase|drop|lose|clear|hide|minus|eliminate|no|strip|rid)\b",
        r"(?:get rid of|take (?:away|out|off)|no longer|cut out)\b",
    )
)
_INSTEAD = _any_of((r"(?:instead of|rather than|in place of|and not)\b",))
_REPLACE = re.compile(
    r"\b(?:(?:replace|swap|exchange|substitute|switch(?: out)?|trade)\b(?P<old>.+?)\b(?:with|by|for|to)"
    r"|(?:turn|change|convert|transform)\b(?P<was>.+?)\b(?:into|to))\b(?P<new>.+)",
    re.IGNORECASE,
)
_SAYING_LITTLE = """a an the of in on at by for to with and or from into onto over under as is are was
were be been being it its this that these those he she they his her their him them who which some any very
all there here now then than so but not no yes please just more"""
_FUNCTION = frozenset(_SAYING_LITTLE.split())
"""Words that say little of a picture."""
_WORD = re.compile(r"\w[\w'-]*")
LEAST_KEPT = 0.34
"""Share of a caption's telling words below which the other caption is of another picture, unless the
instruction names what went or came."""
STEM = 4
"""Words are of one kin that begin with so many letters alike, or with nearly all of the shorter one's."""
LONG_STEM = 6
"""So many do for the longest words."""


@dataclass(frozen=True)
class _Change:
    """What a caption lost and gained in one place: telling words."""

    lost: tuple[str, ...]
    gained: tuple[str, ...]


def broken_rules(caption: str, words: Suggestion) -> list[str]:
    """The rules that an instruction breaks, by name; none where nothing speaks against it."""
    instruction = told_text(words.edit_prompt)
    found = [name for name, pattern in _PATTERNS.items() if pattern.search(instruction)]
    if _SEVERAL.search(instruction):
        found.append(SEVERAL)
    changes = _changes(told_text(caption), told_text(words.edited_prompt))
    return found + _amiss(_telling(told_text(caption)), instruction, changes)


def _amiss(before: list[str], instruction: str, changes: list[_Change]) -> list[str]:
    """What of a change of captions, before which these words stood, the instruction does not ask for."""
    asked = _telling(instruction)
    lost = [word for change in changes for word in change.lost]
    gained = [word for change in changes for word in change.gained]
    named_lost, named_gained = _kin(asked, lost), _kin(asked, gained)
    if before and 1 - len(lost) / len(before) < LEAST_KEPT and not (named_gained or named_lost):
        return [ANOTHER]
    if _is_reversed(instruction, asked, lost, gained):
        return [REVERSED]
    if is_undone(before, asked, lost, gained):
        return [UNDONE]
    told = [change for change in changes if _is_told(asked, change)]
    # One word may follow from another, but no attribute from another attribute; and what is replaced
    # elsewhere without being named does not, either.
    plain = all(are_attributes((*change.lost, *change.gained)) for change in changes)
    untold = [
        change
        for change in changes
        if change not in told and (plain or (change.lost and change.gained))
    ]
    return [UNTOLD] if told and untold else []


def _is_told(asked: list[str], change: _Change) -> bool:
    """Whether the instruction names what came or went; of an attribute that became another, what came."""
    if change.gained and are_attributes((*change.lost, *change.gained)):
        words: Sequence[str] = change.gained
    else:
        words = (*change.lost, *change.gained)
    return _kin(asked, words) or are_named(asked, change.lost, change.gained)


def _is_reversed(instruction: str, asked: list[str], lost: list[str], gained: list[str]) -> bool:
    """Whether what is asked for was there before, and went."""
    replaced = _REPLACE.search(instruction)
    if replaced:
        old, new = _telling(replaced["old"] or replaced["was"]), _telling(replaced["new"])
        return _kin(new, lost) and not _kin(new, gained) and not _kin(old, lost)
    names_what_went = _REMOVAL.search(instruction) or _INSTEAD.search(instruction)
    return bool(_kin(asked, lost) and gained and not _kin(asked, gained) and not names_what_went)


def _changes(before: str, after: str) -> list[_Change]:
    """Where two captions differ in telling words, in their order."""
    first, second = _WORD.findall(before), _WORD.findall(after)
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    found = [
        part
        for tag, a, b, c, d in matcher.get_opcodes()
        if tag != "equal"
        for part in _parts(_only_telling(first[a:b]), _only_telling(second[c:d]))
    ]
    return [change for change in found if change.lost or change.gained]


def _parts(lost: list[str], gained: list[str]) -> list[_Change]:
    """Neighbours that each took another value of their kind, as a size and a colour, are changes each."""
    if len(lost) == len(gained) and are_attributes((*lost, *gained)):
        pairs = list(zip(lost, gained, strict=True))
        if all(len({kind for kind, _ in attributes(pair)}) == 1 for pair in pairs):
            return [_Change((old,), (new,)) for old, new in pairs]
    return [_Change(tuple(lost), tuple(gained))]


def _telling(text: str | None) -> list[str]:
    return _only_telling(_WORD.findall(text or ""))


def _only_telling(words: Iterable[str]) -> list[str]:
    return [word for word in words if word not in _FUNCTION]


def _kin(some: Iterable[str], others: Iterable[str]) -> bool:
    """Whether a word of the first is of the kin of one of the second, as winter and wintry are."""
    known = list(others)
    return any(_are_kin(one, other) for one in some for other in known)


def _are_kin(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    if len(short) < STEM:
        return short == long or long == f"{short}s"
    pairs = enumerate(zip(short, long, strict=False))
    shared = next((place for place, (a, b) in pairs if a != b), len(short))
    return shared >= max(STEM, min(len(short) - 1, LONG_STEM))
