"""Where things lie below a run's root."""

import hashlib
import re
from dataclasses import dataclass

from factory.storage.key_rules import RUN as RUN

SEGMENT_UNITS = 4096
"""Consecutive units that share a folder of commits, a roll-up and a file of the plan."""

BESIDE = "_editmill"
"""The root's name, where a stage leaves objects of its own around it."""
AROUND = "../"
"""How the name of such an object begins."""
DATA = {"generate": "pairs/"}
"""Folder of what units leave, by stage; others have `data/`."""
SEGMENTS = "segments/"
STRIKES = "strikes/"
RETRIES = "retries/"
MANIFESTS = "manifest/"
MANIFEST_PARTS = "manifest/parts/"
PLANS = "plan/"
COMMITS = "commits/"
FINISHES = "finish/"
SCORES = "scores/"
"""Of pairs: what all candidates of a sealed segment scored, in one object. Derived from its commits."""
SELECTIONS = "selections/"
"""Runs of their own that chose anew among this one's candidates, unless they lie elsewhere."""
SELECTED = "selected.json"
"""Of such a run: the one whose candidates they are."""
PURGED = "purged.jsonl"
"""Of a run that `purge` began: the candidates that were taken out, and why."""
REPLIES = "replies/"
"""What language models' servers answered; what is made depends on it, so that it is never removed."""
PRICES = "prices/"
"""What the tokens of replies cost, as each start that was told others than before was told."""
BATCH = "batch.json"
"""The size of a run's batches, where it is found by measuring."""
DAMAGED = "damaged/"

_COMMIT = re.compile(
    r"commits/[0-9]{6}/(?P<unit>[0-9]{8})(?:-(?P<generation>[1-9][0-9]*))?"
    r"(?:/(?P<attempt>[0-9a-f]{32}))?\.parquet"
)
_DATA = re.compile(r"[a-z]+/([0-9]{8})-[0-9a-f]{16}\.[a-z]+")
_SCORES = re.compile(r"scores/[0-9]{6}-[0-9a-f]{16}\.parquet")
_FINISH = re.compile(r"finish/[a-z0-9_]+-[0-9a-f]{16}\.[a-z.]+")
_PLAN_PART = re.compile(r"plan/[0-9]{6}/[0-9]{6}-[0-9a-f]{16}\.parquet")
_MANIFEST_PART = re.compile(r"manifest/parts/[0-9]{6}-[0-9a-f]{16}\.parquet")


@dataclass(frozen=True)
class CommitName:
    """What the key of a commit says."""

    unit: int
    generation: int
    """How often the unit had been opened again."""
    attempt: str | None
    """On stores with weak conditional writes; None where a unit has one commit."""


def segment_of(unit: int) -> int:
    """The number of a unit's segment."""
    return unit // SEGMENT_UNITS


def segment(unit: int) -> str:
    """The name of a unit's segment."""
    return segment_name(segment_of(unit))


def segment_name(number: int) -> str:
    """The name of a segment."""
    return f"{number:06d}"


def segment_units(number: int) -> range:
    """The units of a segment."""
    return range(number * SEGMENT_UNITS, (number + 1) * SEGMENT_UNITS)


def commits_of(number: int) -> str:
    """The prefix of a segment's commits."""
    return f"{COMMITS}{segment_name(number)}/"


def commit(unit: int, generation: int = 0) -> str:
    """The commit of a unit, or of a later generation of it."""
    return f"{_commit_stem(unit, generation)}.parquet"


def attempts(unit: int, generation: int = 0) -> str:
    """The prefix of a unit's attempts on a store with weak conditional writes."""
    return f"{_commit_stem(unit, generation)}/"


def attempt(unit: int, generation: int, name: str) -> str:
    """One attempt's commit on such a store."""
    return f"{attempts(unit, generation)}{name}.parquet"


def _commit_stem(unit: int, generation: int) -> str:
    again = f"-{generation}" if generation else ""
    return f"{commits_of(segment_of(unit))}{unit:08d}{again}"


def commit_name(key: str) -> CommitName | None:
    """What a key says where it is a commit's; None for any other."""
    found = _COMMIT.fullmatch(key)
    if found is None:
        return None
    unit, generation = int(found["unit"]), int(found["generation"] or 0)
    name = found["attempt"]
    meant = attempt(unit, generation, name) if name else commit(unit, generation)
    return CommitName(unit, generation, name) if meant == key else None


def data_folder(stage: str) -> str:
    """The prefix of what a stage's units leave."""
    return DATA.get(stage, "data/")


def data(stage: str, unit: int, sha256: str, ending: str) -> str:
    """What a unit leaves, by content."""
    return f"{data_folder(stage)}{unit:08d}-{sha256[:16]}.{ending}"


def unit_of_data(stage: str, key: str) -> int | None:
    """The unit of a data object's key; None for any other key."""
    found = _DATA.fullmatch(key)
    return int(found[1]) if found and key.startswith(data_folder(stage)) else None


def finish(name: str, sha256: str) -> str:
    """What is made of all outcomes, by content."""
    stem, _, ending = name.partition(".")
    return f"{FINISHES}{stem}-{sha256[:16]}.{ending}"


def scores(part: str) -> str:
    """The scores of the units that a manifest's part lists, by the key of that part."""
    return f"{SCORES}{part.rpartition('/')[2]}"


def is_scores(key: str) -> bool:
    """Whether a key is such an object's."""
    return _SCORES.fullmatch(key) is not None


def finish_name(name: str) -> str:
    """What a finish calls an object that is laid out by this name: small letters, parts joined by `_`."""
    return name.removeprefix(AROUND).lower().replace("/", "_").replace("-", "_")


def name_of_finish(key: str) -> str:
    """What a finish called the object of a key."""
    stem, _, ending = key.removeprefix(FINISHES).partition(".")
    return f"{stem.rpartition('-')[0]}.{ending}"


def is_finish(key: str) -> bool:
    """Whether a key is such an object's."""
    return _FINISH.fullmatch(key) is not None


def reply(sha256: str) -> str:
    """The reply to a request that is named by its hash."""
    return f"{REPLIES}{sha256[:2]}/{sha256}.json"


def prices(number: int) -> str:
    """The prices that stood as so manieth, from 0."""
    return f"{PRICES}{number:06d}.json"


def damaged(data: bytes, key: str) -> str:
    """Where damaged bytes are kept, under the name that they had."""
    return f"{DAMAGED}{hashlib.sha256(data).hexdigest()[:16]}-{key.rpartition('/')[2]}"


def roll_up(number: int) -> str:
    """A finished segment in one object."""
    return f"{SEGMENTS}{segment_name(number)}.parquet"


def plan_head(sequence: int) -> str:
    """The head of a sequence of the plan."""
    return f"{PLANS}{sequence:06d}/plan.json"


def plan_part(sequence: int, segment_name: str, sha256: str) -> str:
    """The items of one segment that a sequence adds, by content."""
    return f"{PLANS}{sequence:06d}/{segment_name}-{sha256[:16]}.parquet"


def is_plan_part(key: str) -> bool:
    """Whether a key is a plan part's."""
    return _PLAN_PART.fullmatch(key) is not None


def strikes(unit: int) -> str:
    """The prefix of a unit's strikes."""
    return f"{STRIKES}{unit:08d}/"


def strike(unit: int, number: int) -> str:
    """One strike of a unit."""
    return f"{strikes(unit)}{number}.json"


def retry(sequence: int) -> str:
    """Units that were opened again."""
    return f"{RETRIES}{sequence:06d}.json"


def manifest(sequence: int) -> str:
    """A sealed manifest."""
    return f"{MANIFESTS}{sequence:06d}.json"


def manifest_part(segment_name: str, sha256: str) -> str:
    """The unit lines of one segment, by content."""
    return f"{MANIFEST_PARTS}{segment_name}-{sha256[:16]}.parquet"


def is_manifest_part(key: str) -> bool:
    """Whether a key is a manifest part's."""
    return _MANIFEST_PART.fullmatch(key) is not None
