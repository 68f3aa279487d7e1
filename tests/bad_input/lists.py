"""Lists of triplets: the file, its lines, its fields."""

import bz2
import gzip
import lzma

import pyarrow as pa

from tests.bad_input.materials import (
    BAD,
    GOOD,
    LFS_POINTER,
    OTHER,
    doubled,
    models,
    not_unicode,
    parquet,
    write,
)
from tests.bad_input.table import GENERATE, PLAN, Case, case
from tests.security.parquet_files import Column, page, parquet_file, plain


def listed(id: str, content: str | bytes, message: str, name: str = "t.jsonl") -> Case:
    return case(id, f"{PLAN} {name}", message, write(name, content))


def edit(value: str) -> str:
    """A line whose edit is this JSON."""
    return BAD.replace("null", value)


SPREAD = '{\n  "input": "a cat",\n  "edit": "make it a dog",\n  "output": "a dog"\n}\n'
NO_EDIT = r"t\.jsonl:1: edited prompt must differ from the original .*, got "
WEB = "https://host/t.jsonl"
BOMB = parquet_file(
    [Column(name, [page(plain(b"a"), 1)], 3 * 2**30) for name in ("input", "edit", "output")], 1
)
"""By its footer three columns of three GiB."""

FILES = [
    case("a missing list", f"{PLAN} no.jsonl", r"no\.jsonl: no such file"),
    case(
        "a mistyped name",
        f"{PLAN} triplets.jsonl",
        r"triplets\.jsonl: no such file; did you mean 'triplets\.json1'\?",
        write("triplets.json1", GOOD),
    ),
    case("a folder as a list", f"{PLAN} .", r"\.: cannot be read: Is a directory"),
    case("a line feed in a name", f"{PLAN} 'a\nb'", r"a\\nb: no such file"),
    case("no name", f"{PLAN} ''", r"expected a file or s3://bucket/key, got ''"),
    case("a list on the web", f"{PLAN} {WEB}", rf"expected .* s3://bucket/key, got '{WEB}'"),
    case(
        "a signed link to a list",
        f"{PLAN} '{WEB}?X-Amz-Signature=canary'",
        r"expected a file or s3://bucket/key, got https:\.\.\.",
    ),
    case(
        "a signed link to a list in a bucket",
        f"{PLAN} 's3://bucket/t.jsonl?X-Amz-Signature=canary'",
        r"expected .* s3://bucket/key without keys or a signature, got s3:\.\.\.",
    ),
    case(
        "keys in a list's address",
        f"{PLAN} s3://KEY:canary@bucket/t.jsonl",
        r"expected .* s3://bucket/key without keys or a signature, got s3:\.\.\.",
    ),
    case("a bucket as a list", f"{PLAN} s3://bucket", r"s3://bucket: .*, got no key"),
    case(
        "a list under a key with a blank",
        f"{PLAN} 's3://bucket/my list.jsonl'",
        r"object key: expected parts of letters, digits .*, got 'my list\.jsonl'",
    ),
    listed("an empty list", "", r"t\.jsonl: must hold at least one triplet, got 0 .*"),
    listed("only blank lines", "\n \r\n", r"t\.jsonl: must hold .*, got 0 .*"),
    listed("UTF-16", GOOD.encode("utf-16"), r"t\.jsonl: must be UTF-8, got UTF-16"),
    listed("UTF-16 without a mark", GOOD.encode("utf-16-le"), r".*: must be UTF-8, got UTF-16"),
    listed("a JSON array", f"[{GOOD}]", r"t\.jsonl:1: .* per line, got a JSON array"),
    listed("a spread JSON array", f"\n[\n{GOOD}]", r"t\.jsonl:2: .* line, got a JSON array"),
    listed("an object over several lines", SPREAD, r"t\.jsonl:1: .* line, got one over several"),
    listed("gzip", gzip.compress(GOOD.encode()), r".*\.gz: .*, got gzip; unpack it", "t.jsonl.gz"),
    listed(
        "Zstandard", b"\x28\xb5\x2f\xfd\x04", r".*: .*, got Zstandard; unpack it", "t.jsonl.zst"
    ),
    listed("bzip2", bz2.compress(GOOD.encode()), r".*: .*, got bzip2; unpack it", "t.jsonl.bz2"),
    listed("xz", lzma.compress(GOOD.encode()), r".*: .*, got xz; unpack it", "t.jsonl.xz"),
    listed(
        "an Arrow file", b"ARROW1\0\0", r".*, got an Arrow file; write it as Parquet", "t.arrow"
    ),
    listed("a page for a list", "<!DOCTYPE html>\n", r".*, got a page of the web or XML"),
    listed(
        "a git-lfs pointer as a list",
        LFS_POINTER,
        r"t\.jsonl: expected JSON lines, CSV or Parquet, got a git-lfs pointer of 43 bytes; run git lfs "
        r"pull",
    ),
    listed("a zip archive", b"PK\x03\x04\x14\0", r".*: .*, got zip; unpack it", "t.zip"),
    listed(
        "a cut Parquet file",
        parquet(input=["a"], edit=["b"], output=["c"])[:-20],
        r"t\.parquet: must be a whole Parquet file, got \d+ bytes .*",
        "t.parquet",
    ),
    listed(
        "Parquet without the columns",
        parquet(text=["a"]),
        r"t\.parquet: must have columns input, edit, output, got 'text'",
        "t.parquet",
    ),
    listed(
        "Parquet without one of the columns",
        parquet(caption=["a"], edit=["b"], text=["c"]),
        r't\.parquet: row 1: field "output": expected one of .*, got .caption, edit. .*',
        "t.parquet",
    ),
    listed(
        "a number in Parquet",
        parquet(input=["a", "b"], edit=["b", "c"], output=[1, 2]),
        r't\.parquet: row 1: field "output": expected non-empty text, got 1 \(2 bad .*\)',
        "t.parquet",
    ),
    listed(
        "a column of lists in Parquet",
        parquet(input=["a"], edit=["b"], output=[["c"]]),
        r't\.parquet: field "output": expected text, got list<.*>',
        "t.parquet",
    ),
    listed(
        "a column that is there twice in Parquet",
        doubled(input=["a"], edit=["b"], output=["c"]),
        r"t\.parquet: must have one column input, got 2",
        "t.parquet",
    ),
    listed(
        "a text of 100 kB in Parquet",
        parquet(input=["a"], edit=["b" * 100_001], output=["c"]),
        r't\.parquet: row 1: field "edit": must be at most 100000 bytes, got 100001',
        "t.parquet",
    ),
    listed(
        "JSON that is no string in Parquet",
        parquet(input=['"a"'], edit=pa.array(['{"b": 1}'], pa.json_()), output=["c"]),
        r't\.parquet: row 1: field "edit": must be a string of JSON, got \'\{"b": 1\}\' \(1 bad .*\)',
        "t.parquet",
    ),
    listed(
        "Parquet that unpacks to gigabytes",
        BOMB,
        r"t\.parquet: row group 0 must unpack to at most 268435456 bytes, got 9663676416 in a file "
        r"of \d{3}",
        "t.parquet",
    ),
    case(
        "a folder that is called as a list and holds none",
        f"{PLAN} t.parquet",
        r"t\.parquet: cannot be read: Is a directory",
        write("t.parquet/_SUCCESS", ""),
    ),
    case(
        "a list in a folder that is called as Parquet",
        f"{PLAN} t.parquet/",
        r"t\.parquet/?: must hold \.parquet files where it is a folder, got 't\.jsonl'; "
        r"name the list's own file",
        write("t.parquet/t.jsonl", GOOD),
        write("t.parquet/_SUCCESS", ""),
    ),
    case(
        "a bad row in a part of a list",
        f"{PLAN} t.parquet/",
        r't\.parquet/part-1\.parquet: row 1: field "edit": expected non-empty text, got null .*',
        write("t.parquet/part-0.parquet", parquet(input=["a"], edit=["b"], output=["c"])),
        write(
            "t.parquet/part-1.parquet",
            parquet(input=["a"], edit=pa.nulls(1, pa.string()), output=["c"]),
        ),
    ),
    listed(
        "bad UTF-8 in Parquet",
        parquet(input=not_unicode(), edit=["b"], output=["c"]),
        r't\.parquet: row 1: field "input": must be UTF-8, got b\'\\xff\\xfe\' \(1 bad line, .*\)',
        "t.parquet",
    ),
]
CSV = [
    listed(
        "CSV without the columns",
        "prompt,text\na,b\n",
        r"t\.csv: must have columns input, edit, output, got 'prompt, text'",
        "t.csv",
    ),
    listed(
        "CSV without one of the columns",
        "input,edit,text\na,b,c\n",
        r't\.jsonl:2: field "output": expected one of .*, got .input, edit, text. .*',
    ),
    listed(
        "a column that is there twice in CSV",
        "input,edit,edit,output\na,b,b,c\n",
        r"t\.jsonl: must have one column edit, got 2",
    ),
    listed(
        "a row of too few fields",
        "input,edit,output\na,b,c\na,b\n",
        r"t\.jsonl:3: must have 3 fields as the first line, got 2 \(1 bad line, .*\)",
    ),
    listed(
        "an empty field of CSV",
        'input,edit,output\n"a\nb",,c\n',
        r't\.jsonl:2: field "edit": expected non-empty text, got null .*',
    ),
    listed(
        "a quote that is not closed",
        'input,edit,output\na,b,c\n\na,"b,c\nd,e,f\n',
        r"t\.jsonl:4: must be a row of CSV, got 'unexpected end of data' .*",
    ),
    listed(
        "bad UTF-8 in CSV",
        b"input\tedit\toutput\na\tb\tc\n\xff\tb\tc\n",
        r"t\.jsonl:3: must be UTF-8, got byte 0xff \(1 bad line, .*\)",
    ),
    listed(
        "a line of 2 MB in CSV",
        f"input,edit,output\n{'x' * 2_000_000}\n",
        r"t\.jsonl:2: line must be at most 1000000 bytes, got 2000000 .*",
    ),
]
LINES = [
    listed(
        "broken JSON on line 2",
        GOOD + '{"input": \n',
        r"t\.jsonl:2: must be JSON, got 'Expecting value' at column 11 \(1 bad line, .*\)",
    ),
    listed("broken JSON after blank lines", f"\n\n{GOOD}\n{{]\n", r"t\.jsonl:5: must be JSON, .*"),
    listed("a cut last line", GOOD + OTHER[:-9], r"t\.jsonl:2: must be JSON, got .*"),
    listed("NaN", GOOD[:-2] + ', "x": NaN}', r"t\.jsonl:1: must be JSON, got 'NaN.*"),
    listed("infinity", GOOD[:-2] + ', "x": -Infinity}', r".*:1: must be JSON, got '-Infinity.*"),
    listed(
        "a field given twice",
        GOOD[:-2] + ', "edit": "x"}',
        r"t\.jsonl:1: must be JSON, got 'edit given twice' .*",
    ),
    listed("nesting", '{"a":' + "[" * 99_999, r"t\.jsonl:1: .*, got .* nested .*"),
    listed("a number of 5,000 digits", f'{{"a": {"9" * 5000}}}', r".*:1: .*, got .*"),
    listed("a line of 2 MB", f'"{"x" * 2_000_000}"', r".*:1: .* 1000000 .*, got 2.*"),
    listed("a number as a line", "17", r".*:1: line must be a JSON object, got 17 .*"),
    listed("null as a line", "null", r".*:1: line must be a JSON object, got null .*"),
    listed(
        "bad UTF-8",
        GOOD.encode() + b'{"input": "\xff"}',
        r"t\.jsonl:2: must be UTF-8, got byte 0xff at 11 .*",
    ),
    case(
        "more bad lines than --max-bad",
        f"{PLAN} t.jsonl --max-bad 1",
        r't\.jsonl:2: field "edit": .*, got null \(2 bad lines, --max-bad is 1\)',
        write("t.jsonl", GOOD + BAD + BAD),
    ),
    case(
        "only bad lines, all skipped",
        f"{PLAN} t.jsonl --max-bad 9",
        r't\.jsonl: must .*, got 0 usable lines and 2 bad ones, first: t\.jsonl:1: field "edit".*',
        write("t.jsonl", BAD + BAD),
    ),
    case(
        "a bad line under generate",
        GENERATE,
        r't\.jsonl:1: field "edit": expected non-empty text, got null .*',
        *(models, write("t.jsonl", BAD + GOOD)),
    ),
]
FIELDS = [
    listed(
        "a missing field",
        GOOD + '{"input": "a", "output": "b"}',
        r't\.jsonl:2: field "edit": expected one of edit_prompt, edit, got .*input, output.*',
    ),
    listed(
        "a name for a field that nobody uses",
        GOOD.replace("input", "prompt"),
        r'.*:1: field "caption": .* original_prompt, input, caption, got .*prompt, edit, output.*',
    ),
    listed("null in a field", GOOD + BAD, r'.*:2: field "edit": .* text, got null .*'),
    listed("an empty field", edit('" "'), r'.*"edit": .*, got \' \' .*'),
    listed("nothing but a wide blank", edit('"\\u3000"'), r'.*"edit": expected non-empty text, .*'),
    listed(
        "nothing to be seen", edit('"\\u200b\\u202e"'), r'.*"edit": expected non-empty text, .*'
    ),
    listed("a number as text", edit("7"), r'.*"edit": .* text, got 7 .*'),
    listed("a list as text", edit('["a"]'), r".*\"edit\": .* text, got \['a'\] .*"),
    listed("an object as text", edit('{"en": "a"}'), r'.*"edit": .* text, got \{.*'),
    listed("true as text", edit("true"), r'.*"edit": .* text, got True .*'),
    listed("a number as a kind", GOOD[:-2] + ', "edit_kind": 3}', r'.*"edit_kind": .*, got 3 .*'),
    listed(
        "half a surrogate pair",
        edit('"\\ud800"'),
        r't\.jsonl:1: field "edit": must be text, got half a surrogate pair .*',
    ),
    listed("an edit that changes nothing", GOOD.replace("a dog", "a cat"), NO_EDIT + "'a cat' .*"),
    listed("an edit of blanks alone", GOOD.replace("a dog", " a  cat"), NO_EDIT + "' a  cat' .*"),
    listed("an edit of capitals alone", GOOD.replace("a dog", "A Cat"), NO_EDIT + "'A Cat' .*"),
    listed(
        "an edit of an entity alone",
        '{"input": "cat & dog", "edit": "b", "output": "cat &amp; dog"}',
        NO_EDIT + "'cat &amp; dog' .*",
    ),
    listed(
        "an edit of a kind of quotes alone",
        '{"input": "the cat\'s \\"hat\\"", "edit": "b", "output": "the cat\u2019s \u201chat\u201d"}',
        NO_EDIT + ".the cat\u2019s \u201chat\u201d. .*",
    ),
    listed(
        "an edit of an accent's form alone",
        '{"input": "a caf\\u00e9", "edit": "b", "output": "a cafe\\u0301"}',
        NO_EDIT + ".*",
    ),
    listed(
        "an edit of wide letters alone",
        '{"input": "a cat", "edit": "b", "output": "\uff41 \uff43at"}',
        NO_EDIT + ".*",
    ),
    listed(
        "a prompt of 100 kB",
        edit('"' + "\u00e9" * 50_001 + '"'),
        r'.*"edit": must be at most 100000 bytes, got 100002 .*',
    ),
]
LISTS = FILES + CSV + LINES + FIELDS
