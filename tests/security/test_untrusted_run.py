"""Runs of strangers, stamped as ours are: what their files unpack to, whatever they say of it."""

import hashlib
import io
import json
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factory.dataset.files import find_files
from factory.errors import Damaged
from factory.export.source import SCHEMA, tables_of
from factory.ledger import keys
from factory.ledger.manifest import manifest_bytes, newest_manifest
from factory.ledger.plan import read_plan
from schemas import arrow
from schemas.arrow import read_rows, read_table, write_rows
from schemas.ledger.commit import Part
from schemas.parquet import whole
from tests.factory.export.runs import sealed_run
from tests.security.parquet_files import Column, Page, page, parquet_file, plain, repeated
from tests.security.test_untrusted_parquet import ZEROS, delta, in_little_memory, zeros

STAMP = {"editmill.digest": arrow._BLANK.decode()}


def stamped(rows, name="pairs_key", **column):
    """A file of one column with a digest that fits."""
    return signed(parquet_file([Column(name, **column)], rows, STAMP))


def signed(data):
    return arrow._with_digest(data, arrow._digest_of(data))


UNPACKS = r"must unpack to at most 268435456 bytes, got \d{9,} or more in a file of \d{3,6}"
AGAIN = repeated(b"a" * 2**25, 50_000)
BOMBS = {
    "a page of a GiB": (1, {"pages": [zeros(1024)]}, UNPACKS),
    "a page of which the footer says nothing": (1, {"pages": [zeros(1024)], "said": 9}, UNPACKS),
    "a page that says 2 GiB": (1, {"pages": [Page(ZEROS, 2**31 - 1, 1)], "said": 9}, UNPACKS),
    "many pages": (16, {"pages": [zeros(64) for _ in range(16)], "said": 9}, UNPACKS),
    "a word of 32 MiB in 50,000 rows": (50_000, {"pages": AGAIN}, UNPACKS),
    "values that begin as others": (50_000, {"pages": [delta(b"a" * 99_000, 50_000)]}, "begin as"),
    "more rows than bytes": (10**9, {"pages": repeated(b"a", 10**9)}, "one row for each of its"),
}


def with_part(run, data):
    """The run with another part of its manifest."""
    _, manifest = newest_manifest(run)
    sha256 = hashlib.sha256(data).hexdigest()
    key = keys.manifest_part(keys.segment_name(0), sha256)
    run.store.put(key, data)
    part = Part(key=key, sha256=sha256, units=manifest.parts[0].units)
    forged = manifest.model_copy(update={"parts": (part,)})
    run.store.put(keys.manifest(0), manifest_bytes(run, forged))
    return run


@pytest.mark.parametrize(("rows", "column", "said"), BOMBS.values(), ids=BOMBS)
def test_a_small_part_of_a_manifest_never_unpacks_to_gigabytes(tmp_path, rows, column, said):
    data = stamped(rows, **column)
    assert len(data) < 2**18
    run = with_part(sealed_run(str(tmp_path), 3), data)
    with pytest.raises(Damaged, match=rf"manifest/parts/.*: not a part of a manifest: .*{said}"):
        in_little_memory(lambda: find_files(run.uri))


def test_a_small_part_of_a_plan_and_a_small_file_of_pairs_neither(tmp_path):
    run = sealed_run(str(tmp_path), 3)
    plan = read_plan(run)
    data = stamped(1, "edit_prompt", pages=[zeros(1024)], said=9)
    part = Part(key="plan/x.parquet", sha256=hashlib.sha256(data).hexdigest(), units=1)
    run.store.put(part.key, data)
    with pytest.raises(Damaged, match=rf"not a part of a plan: .*{UNPACKS}"):
        in_little_memory(lambda: plan.read_part(part))
    shard = SimpleNamespace(pieces=json.dumps([[part.key, part.sha256, [0]]]))
    assert "edit_prompt" in SCHEMA.names
    with pytest.raises(Damaged, match=rf"not a pairs file: .*{UNPACKS}"):
        in_little_memory(lambda: list(tables_of(run.store, shard)))


def test_columns_that_stay_dictionaries_are_bounded_and_may_have_a_few_words_in_many_rows():
    few = stamped(10**6, "reason", pages=repeated(b"a" * 99_000, 10**6))
    table = in_little_memory(lambda: read_table(["reason"], few, ["reason"]))
    assert (len(table), table["reason"][-1].as_py()) == (10**6, "a" * 99_000)
    for pages in ([delta(b"a" * 99_000, 50_000)], repeated(b"a", 10**9), [zeros(1024)]):
        data = stamped(pages[-1].values, "reason", pages=pages, said=9)
        with pytest.raises(ValueError, match=rf"{UNPACKS}|begin as others"):
            in_little_memory(lambda data=data: read_table(["reason"], data, ["reason"]))


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array([["a"]]), "no lists|that we write"),
        (pa.array(["a"]).dictionary_encode(), "must be of a type that we write"),
        (pa.array(["a"], pa.large_string()), "must be of a type that we write"),
    ],
)
def test_columns_of_types_that_we_do_not_write_are_not_read(column, said):
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, pa.schema([("reason", column.type)])) as writer:
        writer.write_table(pa.table({"reason": column}))
        writer.add_key_value_metadata(STAMP)
    with pytest.raises(ValueError, match=said):
        read_rows(["reason"], signed(sink.getvalue()))


def test_a_file_whose_columns_lie_over_each_other_or_outside_is_refused(monkeypatch):
    data = stamped(1, pages=[page(plain(b"a"), 1)])
    assert read_rows(["pairs_key"], data)[0] == [{"pairs_key": "a"}]
    for place in (0, 10**6):
        monkeypatch.setattr(whole, "first_page", lambda chunk, place=place: place)
        with pytest.raises(ValueError, match=r"must lie in the file"):
            read_rows(["pairs_key"], data)


def test_an_honest_file_is_read_the_same_in_batches(monkeypatch):
    rows = [
        {
            "text": f"{i % 7} " * 300,
            "number": i,
            "image": {"bytes": bytes([i % 3]) * 900, "path": "x"},
        }
        for i in range(3000)
    ]
    data = write_rows({"text": "str", "number": "int", "image": "image"}, rows)
    names = ["text", "number", "image"]
    whole_table = read_table(names, data, ["text"])
    monkeypatch.setattr(whole, "BATCH_BYTES", 40_000)
    monkeypatch.setattr(whole, "most_unpacked", lambda packed: 6_000_000)
    assert read_rows(names, data)[0] == rows
    again = read_table(names, data, ["text"])
    assert again["text"].num_chunks > 5
    assert again.to_pylist() == whole_table.to_pylist()
    assert again.schema.equals(whole_table.schema, check_metadata=True)
