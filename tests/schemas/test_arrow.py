import io

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as PillowImage

from factory.pairs.selection import Selection
from factory.pairs.source import draws
from schemas.arrow import (
    GROUP_ROWS,
    arrow_schema,
    columns_of,
    from_parquet,
    to_parquet,
    write_rows,
    write_table,
)
from schemas.candidate import Candidate
from schemas.pair import Pair
from schemas.triplet import Triplet
from tests.stub_source import StubSource, recipe, triplets

# timbrooks/instructpix2pix-clip-filtered, in its order.
PUBLISHED = (
    "original_prompt",
    "original_image",
    "edit_prompt",
    "edited_prompt",
    "edited_image",
)


def made():
    of, wanted = recipe(), triplets(4)
    selection = Selection(of)
    for outcome in StubSource().pairs([d for t in wanted for d in draws(of, t)]):
        selection.add(outcome)
    return selection.result(wanted)


def test_rows_survive_the_round_trip_and_bytes_repeat():
    rows, pairs = made()
    for record, values in ((Candidate, rows), (Pair, pairs), (Triplet, triplets(3))):
        data = to_parquet(record, values, {"note": "x"})
        back, metadata = from_parquet(record, data)
        assert back == values
        assert metadata["note"] == "x"
        assert data == to_parquet(record, values, {"note": "x"})


def test_pairs_open_as_images_in_datasets(tmp_path):
    _, pairs = made()
    (tmp_path / "pairs.parquet").write_bytes(to_parquet(Pair, pairs))
    loaded = datasets.load_dataset(
        "parquet",
        data_files=str(tmp_path / "pairs.parquet"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert tuple(loaded.column_names[:5]) == PUBLISHED
    assert isinstance(loaded[0]["original_image"], PillowImage.Image)
    assert loaded[0]["edited_image"].size == (8, 8)
    assert isinstance(loaded.features["edited_image"], datasets.Image)
    assert loaded[0]["clip_sim_dir"] == pairs[0].clip_sim_dir


def test_image_bytes_are_the_encoded_file():
    _, pairs = made()
    table = pq.read_table(io.BytesIO(to_parquet(Pair, pairs)))
    stored = table["original_image"][0].as_py()
    assert stored["bytes"] == pairs[0].original_image.bytes
    assert PillowImage.open(io.BytesIO(stored["bytes"])).size == (8, 8)
    assert "/" not in stored["path"]


def test_columns_follow_the_records():
    assert arrow_schema(columns_of(Candidate)).names == list(Candidate.model_fields)


def test_any_changed_byte_is_noticed():
    rows, _ = made()
    data = to_parquet(Candidate, rows[:4], {"note": "x"})
    for place in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[place] ^= 4
        with pytest.raises((ValueError, OSError)):
            from_parquet(Candidate, bytes(damaged))


class CountedRow(dict):
    """Knows how many there are."""

    alive = most = 0

    def __init__(self, number):
        picture = {"bytes": bytes([number % 256]) * 9, "path": f"{number}.png"}
        word = None if number % 3 == 0 else f"word {number % 7}"
        super().__init__(number=number, word=word, picture=picture if number % 5 else None)
        CountedRow.alive += 1
        CountedRow.most = max(CountedRow.most, CountedRow.alive)

    def __del__(self):
        CountedRow.alive -= 1


@pytest.mark.parametrize("count", [0, 1, GROUP_ROWS, GROUP_ROWS + 1, 3 * GROUP_ROWS + 7])
def test_rows_that_come_one_by_one_give_the_same_bytes_and_are_let_go(count):
    columns = {"number": "int", "word": "str", "picture": "image"}
    rows = [dict(CountedRow(number)) for number in range(count)]
    whole = pa.Table.from_pylist(rows, arrow_schema(columns))
    CountedRow.most = 0
    written = write_rows(columns, map(CountedRow, range(count)), {"of": "a test"})
    assert written == write_table(whole, {"of": "a test"}, GROUP_ROWS)
    assert CountedRow.most <= 2 * GROUP_ROWS
