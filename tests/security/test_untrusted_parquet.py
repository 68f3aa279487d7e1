"""Parquet files that mean harm: what they unpack to, whatever they say of it."""

import io
import json
import resource
from functools import partial
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factory.dataset.dataset import Dataset
from factory.errors import InputError, ListError
from factory.pairs.triplets import read_triplets
from factory.untrusted_parquet import file as untrusted
from factory.untrusted_parquet.file import BATCH_BYTES, UntrustedParquet
from factory.untrusted_parquet.texts import MOST_TEXT, texts
from schemas.parquet.thrift import read_struct
from tests.security.parquet_files import (
    DELTA_BYTE_ARRAY,
    Column,
    Page,
    delta_packed,
    listed,
    natural,
    page,
    parquet_file,
    plain,
    repeated,
    struct,
    text,
)
from tests.trainer.small import png

NAMES = ("input", "edit", "output")
COLUMNS = ("original_image", "edit_prompt", "edited_image")
FLOOR = 2**28
ZEROS = pa.compress(bytes(2**20), "zstd", asbytes=True)
"""A MiB in some 50 bytes."""


def zeros(unpacked: int) -> Page:
    """A page that unpacks to so many MiB, in 50 bytes each."""
    return Page(ZEROS * unpacked, unpacked * 2**20, 1)


def three(make, rows, names=NAMES, **fields):
    return parquet_file([Column(name, make(name), **fields) for name in names], rows)


def opened(data):
    return UntrustedParquet(io.BytesIO(data), "a.parquet")


def in_little_memory(act):
    """With two GiB more than this process has now: Arrow's allocators take room ahead."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**31, limit[1]))
    try:
        return act()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)


UNPACKED = r"row group 0 must unpack to at most 268435456 bytes, got \d{9,} in a file of \d{3,6}"
BOMBS = {
    "a page of a GiB": (three(lambda _: [zeros(1024)], 1), UNPACKED),
    "a page of a GiB, of which the footer says nothing": (
        three(lambda _: [zeros(1024)], 1, said=100),
        UNPACKED,
    ),
    "a page that says that it is of 2 GiB": (
        three(lambda _: [Page(ZEROS, 2**31 - 1, 1)], 1, said=9),
        UNPACKED,
    ),
    "many pages": (three(lambda _: [zeros(64) for _ in range(16)], 16, said=100), UNPACKED),
    "a GiB by its footer alone": (
        three(lambda name: [page(plain(name.encode()), 1)], 1, said=2**30),
        UNPACKED,
    ),
    "a word of 32 MiB in 100,000 rows": (
        three(lambda name: repeated(b"a" * 2**25, 100_000), 100_000),
        r'row 1: field "input": must be at most 100000 bytes, got 33554432',
    ),
    "more rows than bytes": (
        three(lambda name: repeated(name.encode(), 10**9), 10**9),
        r"must hold at most one row for each of its bytes, got 1000000000 rows in \d+ bytes",
    ),
}


@pytest.mark.parametrize(("data", "said"), BOMBS.values(), ids=BOMBS)
def test_a_small_list_never_unpacks_to_gigabytes(tmp_path, data, said):
    (tmp_path / "list.parquet").write_bytes(data)
    assert len(data) < 2**18
    with pytest.raises(ListError, match=rf"^list\.parquet: {said}"):
        in_little_memory(partial(read_triplets, str(tmp_path / "list.parquet")))


def dataset(rows=1, said=None, **pages):
    """Pictures and words of one row; `pages` are those of a column instead."""
    words = {name: [page(plain(*[b"a"] * rows), rows)] for name in COLUMNS} | pages
    columns = [Column(name, words[name], said, is_text=name == "edit_prompt") for name in COLUMNS]
    return parquet_file(columns, rows)


@pytest.mark.parametrize(
    "data",
    [
        dataset(edit_prompt=[zeros(1024)]),
        dataset(edit_prompt=[zeros(1024)], said=9),
        dataset(100_000, edit_prompt=repeated(b"a" * 2**25, 100_000)),
        dataset(edit_prompt=[page(plain(bytes(MOST_TEXT + 1)), 1)]),
    ],
)
def test_a_small_datasets_captions_never_unpack_to_gigabytes(tmp_path, data):
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(InputError, match=r"^a\.parquet: row group 0(, row 0: edit_prompt)? must"):
        in_little_memory(partial(Dataset.open, str(tmp_path)))


@pytest.mark.parametrize(
    "data",
    [
        dataset(original_image=[zeros(1024)], said=9),
        dataset(edited_image=[zeros(64) for _ in range(16)]),
        dataset(1000, edited_image=repeated(bytes(2**25), 1000)),
    ],
)
def test_a_small_datasets_pictures_never_unpack_to_gigabytes(tmp_path, data):
    (tmp_path / "a.parquet").write_bytes(data)
    pairs = Dataset.open(str(tmp_path))
    with pytest.raises(
        InputError, match=r"^a\.parquet: row group 0 must unpack to at most 268435456"
    ):
        in_little_memory(partial(pairs.pair, 0))


@pytest.mark.parametrize(
    ("make", "rows"),
    [
        (lambda _: repeated(b"a" * 99_000, 50_000), 50_000),
        (lambda _: [delta(b"a" * 99_000, 50_000)], 50_000),
    ],
    ids=["a dictionary", "beginnings of the value before"],
)
def test_values_that_come_again_are_read_a_few_rows_at_once(make, rows):
    batches = in_little_memory(lambda: list(islice(opened(three(make, rows)).batches(0, NAMES), 3)))
    assert all(0 < batch.nbytes <= BATCH_BYTES for batch in batches)
    assert batches[-1].column(0)[0].as_py() == "a" * 99_000


def delta(value, rows):
    """A page whose values all begin as the first and end there."""
    beginnings, ends = [0, *[len(value)] * (rows - 1)], [len(value), *[0] * (rows - 1)]
    return page(
        delta_packed(beginnings) + delta_packed(ends) + value, rows, encoding=DELTA_BYTE_ARRAY
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"use_dictionary": False}, {"data_page_version": "2.0", "compression": "gzip"},
     {"use_dictionary": False, "column_encoding": dict.fromkeys(NAMES, "DELTA_BYTE_ARRAY")},
     {"data_page_size": 100, "compression": "none", "row_group_size": 70}],
)  # fmt: skip
def test_an_honest_file_is_read_whole_in_any_encoding(options, monkeypatch):
    # So little that there are many batches.
    monkeypatch.setattr(untrusted, "BATCH_BYTES", 2000)
    rows = [{name: f"{name} {i % 7} {'x' * (i % 50)}" for name in NAMES} for i in range(300)]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink, **options)
    file = opened(sink.getvalue())
    batches = [batch for group in range(len(file.rows)) for batch in file.batches(group, NAMES)]
    assert len(batches) > 5
    assert pa.Table.from_batches(batches).to_pylist() == rows


def test_a_footer_is_not_parsed_where_it_is_long_or_lists_without_end(tmp_path, monkeypatch):
    whole = three(lambda name: [page(plain(name.encode()), 1)], 1)
    monkeypatch.setattr(untrusted, "MOST_FOOTER", 64)
    with pytest.raises(
        InputError, match=r"^a\.parquet: must have a footer of at most 64 bytes, got \d+"
    ):
        opened(whole)
    monkeypatch.undo()
    monkeypatch.setitem(untrusted._OPTIONS, "thrift_container_size_limit", 1000)
    leaf = struct((1, (5, b"\x0c")), (3, (5, b"\0")), (4, text("x")))
    with pytest.raises(InputError, match=r"^a\.parquet: not a Parquet file: .*"):
        opened(footer_of([struct((4, text("s")), (5, (5, natural(2000)))), *[leaf] * 1000]))


def footer_of(schema):
    """A file without rows that has this schema."""
    data = struct((1, (5, b"\0")), (2, listed(schema)), (3, (6, b"\0")), (4, listed([])))[1]
    return b"PAR1" + data + len(data).to_bytes(4, "little") + b"PAR1"


def test_a_column_inside_of_columns_without_end_is_refused():
    schema = [struct((4, text("s")), (5, (5, b"\2"))) for _ in range(20_000)]
    schema.append(struct((1, (5, b"\x0c")), (3, (5, b"\0")), (4, text("s"))))
    with pytest.raises(InputError, match=r"^a\.parquet: not a Parquet file: .*"):
        opened(footer_of(schema))


@pytest.mark.parametrize("place", range(0, 200, 3))
def test_a_file_with_another_byte_is_read_or_refused_and_no_more(place):
    whole = bytearray(three(lambda name: repeated(name.encode(), 3), 3))
    for bit in range(8):
        data = bytearray(whole)
        data[-1 - place % len(whole)] ^= 1 << bit
        refusal = "a.parquet: "
        try:
            file = opened(bytes(data))
            for batch in file.batches(0, [name for name in NAMES if file.type_of(name)]):
                list(map(texts, batch.columns))
        except InputError as error:
            refusal = str(error)
        assert refusal.startswith("a.parquet: ")


def test_text_is_read_whatever_arrow_calls_it_and_told_where_it_is_none():
    strange = pa.array([b"a", b"\xff\xfe!", None, b"x" * (MOST_TEXT + 1)]).view(pa.binary())
    found = texts(pa.Array.from_buffers(pa.string(), 4, strange.buffers()))
    assert (found[0], found[2]) == ("a", None)
    assert str(found[1]) == "must be UTF-8, got b'\\xff\\xfe!'"
    assert str(found[3]) == "must be at most 100000 bytes, got 100001"


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.json_(),
    ],
)
def test_a_list_is_read_from_any_of_arrows_kinds_of_text(tmp_path, kind):
    is_json = kind == pa.json_()
    storage = pa.string() if is_json else kind
    columns = {
        name: pa.array([json.dumps(word) if is_json else word] * 2).cast(storage)
        for name, word in zip(NAMES, "abc", strict=True)
    }
    if is_json:
        columns = {n: pa.ExtensionArray.from_storage(kind, c) for n, c in columns.items()}
    other = {
        "tensor": pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.float32(), [2]),
            pa.array([[0, 0]] * 2, pa.list_(pa.float32(), 2)),
        ),
        "view": pa.array([b"x", b"y"], pa.binary_view()),
    }
    pq.write_table(pa.table(columns | other), tmp_path / "list.parquet")
    found = read_triplets(str(tmp_path / "list.parquet"))
    assert (len(found.triplets), found.duplicates) == (1, 1)
    assert found.triplets[0].edited_prompt == "c"


@pytest.mark.parametrize(
    "value", ["make it red", '{"a": 1}', "null", "3", '"\\ud800"', "[" * 99_999, '"a']
)
def test_of_json_only_a_string_is_text(value):
    (found,) = texts(pa.array([value]), is_json=True)
    assert str(found).startswith("must be a string of JSON, got ")
    assert isinstance(found, ValueError)
    assert texts(pa.array(['"\\u00e9 \\"b\\""', None]), is_json=True) == ['é "b"', None]


@pytest.mark.parametrize(
    "kind",
    [pa.binary(), pa.large_binary(), pa.binary_view(), pa.dictionary(pa.int32(), pa.binary())],
)
@pytest.mark.parametrize("in_struct", [False, True])
def test_pictures_are_read_from_any_of_arrows_kinds_of_bytes(tmp_path, kind, in_struct):
    columns = {"edit_prompt": pa.array(["make it red", "make it blue"]).cast(pa.string_view())}
    for name, seed in (("original_image", 0), ("edited_image", 10)):
        pictures = pa.array([png(seed), png(seed + 1)]).cast(kind)
        if in_struct:
            size = pa.array([1, 2])
            pictures = pa.StructArray.from_arrays([size, pictures], ["size", "bytes"])
        columns[name] = pictures
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    pairs = Dataset.open(str(tmp_path))
    assert pairs.pair(1).instruction == "make it blue"
    assert (pairs.pair(1).original, pairs.pair(0).edited) == (png(1), png(10))


def test_thrift_is_passed_over_as_it_is_written():
    inner = struct((1, text("x")), (3, (1, b"")))
    of_all = struct(
        (1, (3, b"\7")), (2, (7, bytes(8))), (3, listed([inner] * 20)), (4, (11, b"\1\x85\1a\3")),
        (5, (11, b"\0")), (20, text("end")), (4000, (5, b"\3")),
    )  # fmt: skip
    assert read_struct(b"\0" + of_all[1], 1) == (
        {1: None, 2: None, 3: None, 4: None, 5: None, 20: b"end", 4000: -2},
        1 + len(of_all[1]),
    )
    for cut in range(len(of_all[1])):
        with pytest.raises(IndexError):
            read_struct(of_all[1][:cut])
    with pytest.raises(ValueError, match="nested without end"):
        read_struct(b"\x1c" * 100)
