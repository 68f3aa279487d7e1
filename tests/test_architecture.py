"""Who may import whom: the table of the README, held here."""

import ast
import inspect
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from schemas.config import Compute
from schemas.running.pool import Pool
from schemas.training.fit import Where

ROOT = Path(__file__).parent.parent
PACKAGES = ("schemas", "factory", "trainer", "cluster")
RAY_FOLDERS = ("factory/on_ray", "trainer/on_ray", "cluster")
TORCH_FOLDERS = ("factory/engine", "factory/edits", "trainer", "factory/on_ray")
# Who may not be imported, by folder; the longest matching folder counts.
FORBIDDEN = {
    "schemas": ("factory", "trainer", "cluster"),
    "factory": ("trainer", "cluster", "factory.engine", "factory.on_ray"),
    "factory/engine": ("trainer", "cluster", "factory.on_ray"),
    "factory/miniature": ("trainer", "cluster", "factory.engine", "factory.on_ray"),
    # Those of their rooms that sample; verbs and the trainer alone import them, and only when they do.
    "factory/pairs/prompt_to_prompt.py": ("trainer", "cluster", "factory.on_ray"),
    "factory/edits/studio.py": ("trainer", "cluster", "factory.on_ray"),
    "factory/edits/python.py": ("trainer", "cluster", "factory.on_ray"),
    "factory/edits/editors": ("trainer", "cluster", "factory.on_ray"),
    "factory/on_ray": ("trainer", "cluster"),
    "trainer": ("cluster", "factory.on_ray", "trainer.on_ray"),
    "trainer/on_ray": ("cluster",),
    "cluster": ("trainer", "factory.engine", "factory.on_ray"),
    # Names that Ray keeps to itself have one file, whoever uses them.
    "cluster/fake_nodes.py": ("trainer", "factory.engine"),
}
# Programs start what they are asked for, so they alone import upwards, and only inside functions.
PROGRAMS = (
    *("factory/__main__.py", "factory/verbs/"),
    *("trainer/__main__.py", "trainer/train_language.py"),
)
TRIPLETS = ("schemas.triplet", "schemas.candidate", "schemas.pair")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Full names of the modules that a file imports."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def within_any(names: set[str], package: str) -> bool:
    return any(within(name, (package,)) for name in names)


def test_what_the_readme_draws_is_there():
    drawn, _, table = (
        (ROOT / "README.md").read_text().partition("## Folders")[2].partition("\n| folder")
    )
    paths = set()
    for left in re.findall(r"^  (\S+(?: \S+)*)  +", drawn, re.MULTILINE):
        # `factory/verbs/ doctor/`: the second lies beside the first.
        first, *others = left.split()
        paths |= {first, *(f"{first.split('/')[0]}/{other}" for other in others)}
    paths |= set(re.findall(r"`([a-z_/0-9]+/)`", table))
    assert len(paths) > 25
    assert {path for path in paths if not (ROOT / path).exists()} == set()
    rooms = {
        f"factory/{path.name}/"
        for path in (ROOT / "factory").iterdir()
        if (path / "__init__.py").exists()
    }
    assert rooms <= paths


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_point_down(path):
    relative = path.relative_to(ROOT).as_posix()
    folder = max((f for f in FORBIDDEN if f"{relative}/".startswith(f + "/")), key=len)
    found = imports(path, top_level_only=relative.startswith(PROGRAMS))
    wrong = sorted(name for name in found if within(name, FORBIDDEN[folder]))
    assert not wrong, f"{relative} must not import {wrong}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_ray_and_torch_stay_in_their_folders(path):
    relative = path.relative_to(ROOT).as_posix()
    found = imports(path, top_level_only=relative.startswith(PROGRAMS))
    if not relative.startswith(tuple(f + "/" for f in RAY_FOLDERS)):
        assert not [name for name in found if within(name, ("ray",))], relative
    if not relative.startswith(tuple(f + "/" for f in TORCH_FOLDERS)):
        heavy = ("torch", "diffusers", "transformers", "open_clip")
        assert not [name for name in found if within(name, heavy)], relative


ROOMS = (
    *("errors", "seeds", "pictures", "prompt_text", "deeds", "console", "storage"),
    *(
        "untrusted_image",
        "untrusted_parquet",
        "lists",
        "models",
        "engine",
        "ledger",
        "dataset",
        "work",
        "pairs",
        "edits",
        "captions",
        "export",
    ),
    *("miniature", "report", "doctor", "on_ray", "verbs", "__main__"),
)
"""Of `factory`, from the ground up, as its README draws them."""


TRAINER_ROOMS = (
    *("headline", "learning", "language", "feeding", "latents", "loop", "miniature", "watching"),
    *("root", "checks", "preset_choice", "fit", "evaluation", "on_ray"),
    *("train_language", "__main__"),
)
"""Of `trainer`, from the ground up."""


@pytest.mark.parametrize(("package", "rooms"), [("factory", ROOMS), ("trainer", TRAINER_ROOMS)])
def test_rooms_look_down_only(package, rooms):
    found = set()
    for path in SOURCES:
        relative = path.relative_to(ROOT).as_posix()
        here = Path(relative).parts[1].removesuffix(".py")
        if not relative.startswith(f"{package}/") or here == "__init__":
            continue
        above = rooms[rooms.index(here) + 1 :]
        for name in imports(path):
            found |= {(relative, room) for room in above if within(name, (f"{package}.{room}",))}
    assert not found


MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCES
}
UNKNOWN = {
    "factory.engine": (
        "factory.storage",
        "factory.ledger",
        "factory.work",
        "factory.pairs",
        "schemas.triplet",
        "ray",
        "boto3",
    ),
    "factory.ledger": ("factory.pairs", "factory.engine", "torch", *TRIPLETS),
    "factory.work": ("factory.pairs", "factory.engine", "torch", *TRIPLETS),
}
"""What a room must not reach on any way of imports: the engine no storage, the ledger no triplets."""


def ways_from(room: str) -> dict[str, tuple[str, ...]]:
    """Each name that is reached from a room's modules, with one way to it."""
    ways = {name: (name,) for name in MODULES if within(name, (room,))}
    following = list(ways)
    for name in following:
        for found in sorted(imports(MODULES[name])) if name in MODULES else ():
            if found not in ways:
                ways[found] = (*ways[name], found)
                following.append(found)
    return ways


@pytest.mark.parametrize("room", UNKNOWN)
def test_rooms_do_not_reach_what_they_must_not_know(room):
    ways = ways_from(room)
    assert len(ways) > 20
    wrong = [" > ".join(way) for name, way in ways.items() if within(name, UNKNOWN[room])]
    assert not wrong, wrong


RAYS_OWN = re.compile(
    r"\bray\b.*\b(_private|_internal|_raylet)\b"
    # What Ray adds to every actor, states of Ray Train's controller, and switches of Ray's own tests.
    r"|\b__ray_\w+__|\b\w+ingState\b"
    r"|\bRAY_(FAKE|OVERRIDE|CLOUD|[a-z])\w*"
)
"""Names that Ray keeps to itself. Variables that whoever runs a Ray may set are none."""


def test_ray_data_and_rays_private_names_have_one_file_each():
    """Both change between Ray's releases; `pyproject.toml` pins it for them."""
    users = {"data": set(), "private": set()}
    for path in SOURCES:
        relative, text = path.relative_to(ROOT).as_posix(), path.read_text()
        if within_any(imports(path), "ray.data") or "ray.data." in text.replace('"ray.data', ""):
            users["data"].add(relative)
        if RAYS_OWN.search(text):
            users["private"].add(relative)
    assert users == {
        "data": {"factory/on_ray/pool.py"},
        "private": {"factory/on_ray/ray_internals.py"},
    }


LOADED = """
import sys
sys.modules |= dict.fromkeys(("boto3", "botocore"))  # whoever imports them now fails
import editmill, factory.work.job, factory.ledger.verify.run
print([n for n in ("torch", "ray", "diffusers", "datasets", "openai") if n in sys.modules])
import factory.engine.engine, factory.storage.open, factory.dataset.files, trainer.fit
from factory.storage.open import open_store
print(open_store("somewhere"))
"""


@pytest.mark.long
def test_the_command_starts_without_torch_and_ray_and_only_buckets_need_boto3(tmp_path):
    """Neither its start nor the engine and the trainer, where no bucket is named."""
    run = [sys.executable, "-c", LOADED]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    out = subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert out.stdout.splitlines() == ["[]", f"LocalStore('{tmp_path}/somewhere')"], out.stderr


def test_files_stay_small():
    long = {p.name: n for p in SOURCES if (n := len(p.read_text().splitlines())) > 400}
    assert not long, f"look for the noun that hides in {long}"


def test_the_engine_names_nobody_who_asks_it():
    """Candidates and their triplets are a stage's; the engine has requests."""
    named = re.compile(r"(?<![a-z])(draws?|drawn|triplets?)(?![a-z])", re.IGNORECASE)
    found = {
        path.relative_to(ROOT).as_posix(): named.findall(path.read_text())
        for path in SOURCES
        if path.is_relative_to(ROOT / "factory/engine")
    }
    assert not {name: words for name, words in found.items() if words}


MOST_MODULES = 15


def test_no_folder_hides_a_noun_among_too_many_modules():
    counts = Counter(
        path.parent.relative_to(ROOT).as_posix() for path in SOURCES if path.name != "__init__.py"
    )
    crowded = {folder for folder, count in counts.items() if count > MOST_MODULES}
    assert not crowded, {folder: counts[folder] for folder in crowded}


SHARED = {
    "Verdict": "each stage has its own, in the record of its outcomes",
    "Autoencoder": "the one that checks a checkpoint's files is called as the network that is made of them",
    "TextEncoder": "as Autoencoder",
    "NoiseSchedule": "as Autoencoder",
}
"""Names that several classes have, each with its reason."""
SPEECH = re.compile(r"_?(told|TOLD|said|SAID|speaks|seen|Seen|passing|befell)")
"""Names of what somebody says or hears: each hides what the thing is."""


def test_a_name_is_one_classs_alone():
    """Of those that other files may import."""
    names = Counter(
        node.name
        for path in SOURCES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert {name for name, count in names.items() if count > 1} == SHARED.keys()
    # The engine's, which no type of another room may be taken for.
    assert not [path for path in SOURCES if re.search(r"^Batch = ", path.read_text(), re.MULTILINE)]


def test_no_class_or_function_is_called_by_a_verb_of_speech():
    found = set()
    for path in SOURCES:
        kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, kinds) and SPEECH.fullmatch(node.name):
                found.add(f"{path.relative_to(ROOT)}: {node.name}")
    assert not found


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_ray_is_pinned_to_the_release_whose_private_names_are_known():
    needed = [need for need in PROJECT["project"]["dependencies"] if re.match(r"ray\b", need)]
    assert len(needed) == 1
    assert re.fullmatch(r"ray\[[a-z,]+\]~=2\.60", needed[0])


def functions_of(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    nodes = ast.walk(ast.parse(path.read_text()))
    return [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def is_command(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether typer makes its options of a function's parameters."""
    return any(
        re.fullmatch(r"(\w+_)?app\.(command|callback)\(.*\)", ast.unparse(decorator))
        for decorator in function.decorator_list
    )


MOST_PARAMETERS = 8


def test_what_takes_many_things_takes_a_record_of_them():
    found = {}
    for path in SOURCES:
        for function in functions_of(path):
            takes = function.args
            names = [*takes.posonlyargs, *takes.args, *takes.kwonlyargs]
            if len(names) > MOST_PARAMETERS and not is_command(function):
                found[f"{path.relative_to(ROOT)}: {function.name}"] = len(names)
    assert not found


@pytest.mark.parametrize("kind", [Compute, Where])
def test_a_stage_and_a_training_say_where_they_run_by_one_record(kind):
    """They add fields; those of all pools, and the rule for them, they have as they are."""
    shared = Pool.model_fields.keys() | Pool.__pydantic_decorators__.model_validators.keys()
    assert {"where", "max_workers", "_bounds"} <= shared
    assert issubclass(kind, Pool)
    assert not shared & (inspect.get_annotations(kind).keys() | vars(kind).keys())


def test_every_preset_is_in_the_wheel():
    shipped = PROJECT["tool"]["setuptools"]["package-data"]
    presets = {path.parent.parent.name for path in ROOT.glob("*/presets/*.yaml")}
    assert presets == {"factory", "trainer"}
    assert all("presets/*.yaml" in shipped[package] for package in presets)
