"""Lists of triplets: the file, its lines, its fields."""

import gzip

from tests.bad_input.materials import (
    BAD,
    GOOD,
    OTHER,
    models,
    not_unicode,
    parquet,
    write,
)
from tests.bad_input.table import GENERATE, PLAN, Case, case


def listed(id: str, content: str | bytes, message: str, name: str = "t.jsonl") -> Case:
    return case(id, f"{PLAN} {name}", message, write(name, content))


def edit(value: str) -> str:
    """A line whose edit is this JSON."""
    return BAD.replace("null", value)


SPREAD = '{\n  "input": "a cat",\n  "edit": "make it a dog",\n  "output": "a dog"\n}\n'
NO_EDIT = r"t\.jsonl:1: edited prompt must differ from the original .*, got "
WEB = "https://host/t.jsonl"

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
        "bad UTF-8 in Parquet",
        parquet(input=not_unicode(), edit=["b"], output=["c"]),
        r't\.parquet: row 1: field "input": must be UTF-8, got b\'\\xff\\xfe\' \(1 bad line, .*\)',
        "t.parquet",
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
]
LISTS = FILES + LINES + FIELDS
