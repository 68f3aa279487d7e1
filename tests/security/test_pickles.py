"""Nothing that is stored is ever unpickled: not in the source, and not when it is planted."""

import ast
import hashlib
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray.data.extensions  # whose Arrow types are registered in every worker

from factory.errors import Damaged, EditmillError, ListError, StorageError
from factory.ledger import keys
from factory.ledger.manifest import newest_manifest
from factory.ledger.plan import find_plan
from factory.ledger.run import open_run
from factory.ledger.status import status
from factory.ledger.units.commits import commit_of, read_record
from factory.pairs.sheet import contact_sheet, sealed_pairs
from factory.pairs.triplets import read_triplets
from factory.pairs.verify import verify
from schemas.arrow import check_plain, from_parquet, to_parquet
from schemas.pair import Pair
from schemas.triplet import Triplet
from tests.factory.export.runs import sealed_run
from tests.security.planted import EXTENSIONS, extended, newest, raw, zipped
from tests.stub_source import triplets
from tests.test_architecture import ROOT, SOURCES, imports, within

assert ray.data

UNPICKLERS = ("pickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal")
FORBIDDEN_WORDS = (
    "torch.load",
    "torch.jit.load",
    "torch.hub",
    "torch.export.load",
    "read_pickle",
    "weights_only",
    "trust_remote_code=",
    "use_safetensors=False",
    "AUTOLOAD",
    "yaml.load",
    "unsafe_load",
    'typ="unsafe"',
    "shell=True",
    "os.system",
)
RUNNERS = ("eval", "exec", "compile", "__import__")


def calls(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize(
    "path", [*SOURCES, ROOT / "editmill.py"], ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_the_source_neither_unpickles_nor_runs_text(path):
    text = path.read_text()
    assert not [name for name in imports(path) if within(name, UNPICKLERS)]
    assert not [word for word in FORBIDDEN_WORDS if word in text]
    for call in calls(ast.parse(text)):
        assert not (isinstance(call.func, ast.Name) and call.func.id in RUNNERS), ast.unparse(call)
        for keyword in call.keywords:
            allowed = isinstance(keyword.value, ast.Constant) and not keyword.value.value
            assert keyword.arg != "allow_pickle" or allowed, ast.unparse(call)


@pytest.mark.parametrize("make", [raw, zipped])
def test_the_payloads_tell_on_whoever_unpickles_them(tmp_path, make):
    data = make(tmp_path / "made")
    at = data.index(b"\x80\x02")
    pickle.loads(data[at:])
    assert (tmp_path / "made").is_dir()


def use(run):
    """Everything that reads a run; what was found damaged, or the error that ended it."""
    try:
        opened = open_run(run.store)
        found = verify(opened).damages
        plan = find_plan(run)
        status(opened, plan)
        for unit in plan.units:
            plan.items(unit)
        contact_sheet(sealed_pairs(opened, newest_manifest(opened)[1]))
    except EditmillError as error:
        return [error]
    return found


@pytest.mark.parametrize("make", [raw, zipped])
def test_a_pickle_in_the_place_of_any_object_of_a_run_is_damage(tmp_path, canary, make):
    run = sealed_run(str(tmp_path / "run"), 5)
    assert use(run) == []
    stored = {info.key: run.store.get(info.key) for info in run.store.list()}
    assert {key.partition("/")[0] for key in stored} >= {"RUN.json", "plan", "pairs", "commits"}
    for key, data in stored.items():
        run.store.put(key, make(canary))
        problems = use(run)
        # A card that is not ours is somebody's: nobody here reads it.
        assert bool(problems) == (key != "README.md"), key
        assert all(isinstance(p, str | Damaged | StorageError) for p in problems), key
        run.store.put(key, data)
    assert use(run) == []


@pytest.mark.parametrize("name", EXTENSIONS)
def test_a_column_of_pickled_objects_is_damage_even_with_a_digest_that_fits(
    tmp_path, canary, name, monkeypatch
):
    # As an operator may have set it for other work.
    monkeypatch.setenv("RAY_DATA_AUTOLOAD_PICKLE_OBJECT_SCALAR", "1")
    run = sealed_run(str(tmp_path / "run"), 5)
    payload = newest(canary)
    commit = keys.commit(0)
    record = read_record(run, 0)
    evil = extended(run.store.get(commit), "reason", name, payload)
    with pytest.raises(Damaged):
        commit_of(run, 0, commit, evil)
    pairs = extended(run.store.get(record.data.key), "edit_prompt", name, payload)
    with pytest.raises((ValueError, OSError)):
        from_parquet(Pair, pairs)
    part = extended(to_parquet(Triplet, triplets(3)), "edit_prompt", name, payload)
    with pytest.raises((ValueError, OSError)):
        from_parquet(Triplet, part)
    (tmp_path / "list.parquet").write_bytes(part)
    with pytest.raises(ListError):
        read_triplets(str(tmp_path / "list.parquet"))


@pytest.mark.parametrize("wrap", [pa.list_, lambda kind: pa.struct([("a", kind)])])
def test_an_extension_type_inside_of_another_is_refused(wrap):
    kind = ray.data.extensions.ArrowPythonObjectType()
    with pytest.raises(ValueError, match=r"one of Arrow's own types"):
        check_plain(pa.schema([("reason", wrap(kind))]))


def test_pickled_bytes_in_the_place_of_pictures_stay_bytes(tmp_path, canary):
    run = sealed_run(str(tmp_path / "run"), 5)
    record = read_record(run, 0)
    pairs, _ = from_parquet(Pair, run.store.get(record.data.key))
    image = {"bytes": raw(canary), "path": "x.png"}
    data = to_parquet(Pair, [Pair(**p.model_dump() | {"edited_image": image}) for p in pairs])
    back, _ = from_parquet(Pair, data)
    assert back[0].edited_image.bytes == raw(canary)
    with pytest.raises(OSError, match="cannot identify"):
        contact_sheet(iter(back))
    # The one format of Pillow's that starts another program.
    eps = {
        "bytes": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n",
        "path": "x",
    }
    drawn = [Pair(**p.model_dump() | {"edited_image": eps}) for p in pairs]
    with pytest.raises(OSError, match="cannot identify"):
        contact_sheet(iter(drawn))
    run.store.put(record.data.key, data)
    assert hashlib.sha256(data).hexdigest() != record.data.sha256
    assert [d for d in verify(run).damages if "not the bytes that unit 0 committed" in d]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "pkl"])
def test_a_pickle_as_the_triplet_list_is_refused(tmp_path, canary, suffix):
    file = tmp_path / f"list.{suffix}"
    file.write_bytes(raw(canary))
    with pytest.raises(ListError):
        read_triplets(str(file))


def test_a_pickled_column_of_pandas_stays_bytes(tmp_path, canary):
    columns = {name: [raw(canary)] for name in ("input", "edit", "output")}
    pq.write_table(pa.table(columns), tmp_path / "list.parquet")
    with pytest.raises(ListError):
        read_triplets(str(tmp_path / "list.parquet"))
