"""Hashes stay what they are while fields and defaults come and change."""

from schemas.arrow import columns_of
from schemas.candidate import Candidate, Verdict
from schemas.ledger.layout import GENERATE
from schemas.recipe import ModelSource, Recipe, Thresholds
from schemas.record import Record
from schemas.training.fit import Law
from schemas.triplet import Triplet
from tests.stub_source import recipe

FILES = {"model.safetensors": "0" * 64}
PINNED = ModelSource(source="here", files=FILES)
KNOWN = {
    "recipe": "aa86f7c38b3d84c9",
    "loras": "0a7d419f7717e425",
    "law": "607e79847ecfdae0",
    "law with lora": "48a000f2b76eb3f4",
    "law that cools": "e79d6894dcd8c3cf",
}


class NewerThresholds(Thresholds):
    LATER = {"face": None}
    face: float | None = 0.3
    """Its default is no longer what it meant to have none."""


class NewerRecipe(Recipe):
    LATER = {**Recipe.LATER, "negative_prompt": "", "tags": ()}
    thresholds: NewerThresholds
    negative_prompt: str = "ugly"
    tags: tuple[str, ...] = ()


def newer(**fields):
    plain = recipe().model_dump() | {"negative_prompt": ""} | fields
    plain["thresholds"] = {"face": None} | plain["thresholds"]
    return NewerRecipe.model_validate(plain)


def test_hashes_are_those_of_the_first_release():
    law = {"model": PINNED, "size_px": 64}
    assert {
        "recipe": recipe().recipe_hash[:16],
        "loras": recipe(loras=[{"source": "x", "files": FILES, "scale": 0.5}]).recipe_hash[:16],
        "law": Law.model_validate(law).law_hash[:16],
        "law with lora": Law.model_validate(law | {"lora": {"rank": 4}}).law_hash[:16],
        "law that cools": Law.model_validate(law | {"cool_down": 0.5}).law_hash[:16],
    } == KNOWN


def test_a_later_field_is_hashed_only_where_it_differs_from_as_before():
    assert newer().recipe_hash == recipe().recipe_hash
    assert newer(negative_prompt="ugly").recipe_hash != recipe().recipe_hash
    assert newer(tags=("a",)).recipe_hash != recipe().recipe_hash
    within = recipe().thresholds.model_dump() | {"face": 0.1}
    assert newer(thresholds=within).recipe_hash != recipe().recipe_hash


def test_what_was_stored_before_a_field_was_there_is_read_as_before():
    stored = recipe().model_dump(mode="json")
    read = NewerRecipe.read(stored)
    assert (read.negative_prompt, read.thresholds.face) == ("", None)
    assert read.recipe_hash == recipe().recipe_hash
    # Whoever asks for a new run gets today's defaults.
    assert NewerRecipe.model_validate(stored).negative_prompt == "ugly"


def test_no_record_lacks_the_meaning_of_a_later_field():
    def records(of: type[Record]) -> list[type[Record]]:
        return [of, *(r for sub in of.__subclasses__() for r in records(sub))]

    for record in records(Record):
        assert record.LATER.keys() <= record.model_fields.keys(), record


def test_the_layout_of_generates_runs_is_that_of_its_records():
    assert columns_of(Triplet) == GENERATE.items
    assert columns_of(Candidate) == GENERATE.outcomes
    assert tuple(verdict.value for verdict in Verdict) == GENERATE.counts
