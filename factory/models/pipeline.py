"""A pipeline's folder in diffusers' layout: parts that are there, of known libraries."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from factory.errors import ModelError
from factory.models.configs import read_config
from factory.models.find import files_below, is_variant, model_folder, plain_name
from factory.models.pin_source import PICKLES, pin_source
from schemas.recipe import ModelSource

INDEX, MODULAR_INDEX = "model_index.json", "modular_model_index.json"
LIBRARIES = ("diffusers", "transformers")
"""Parts are classes of these, of the pipeline's own package, or of a folder of diffusers' pipelines."""

_PLACES = ("pretrained_model_name_or_path", "repo")
"""By which a modular index says where a part is from."""


def index_of(folder: Path) -> Path:
    """The file that names a pipeline's class and parts: the ordinary one where both are there."""
    ordinary, modular = folder / INDEX, folder / MODULAR_INDEX
    return modular if modular.is_file() and not ordinary.is_file() else ordinary


def class_named(folder: Path) -> str:
    """The class that a pipeline's index names. Raises `ModelError`."""
    index = index_of(folder)
    named = read_config(index).get("_class_name")
    if not isinstance(named, str) or not named.isidentifier():
        raise ModelError(
            f"{index}: _class_name must be a class's name, got {named!r}; a class of a file in the folder "
            "is not run: install it, and name it as module:Class"
        )
    return named


def pin_pipeline(source: ModelSource, package: str | None) -> ModelSource:
    """A pipeline with every file's hash; `package` is the third party's whose class it is, if one's.

    Raises `ModelError` before any weight is read: no index, parts that are not there or have pickled
    weights only, parts of other libraries or elsewhere, configs that ask for code or for a quantiser.
    """
    folder = model_folder(source, "pipeline")
    needed = index_of(folder).name
    return pin_source(
        source,
        "pipeline",
        (needed,),
        configs=lambda folder: check_parts(folder, package),
        weights=_check_weights,
    )


def check_parts(folder: Path, package: str | None) -> None:
    """Raise `ModelError` unless each part is in the folder and of a library that may be started."""
    class_named(folder)
    # Its loader takes this one for a pipeline of a name that nobody gave.
    _check_no_code(folder / "None.py")
    for index in (folder / INDEX, folder / MODULAR_INDEX):
        if index.is_file():
            _check_index(index, package)


def _check_index(index: Path, package: str | None) -> None:
    folder = index.parent
    for name, part in read_config(index).items():
        if name.startswith("_") or not isinstance(part, list) or not part:
            continue
        library, place = part[0], part[2] if len(part) > 2 else {}
        elsewhere = isinstance(place, Mapping) and any(place.get(key) for key in _PLACES)
        if library is None and not elsewhere:
            continue
        if library is not None and library not in (*LIBRARIES, package) and not _is_ours(library):
            ours = ", ".join([*LIBRARIES, *([package] if package else [])])
            raise ModelError(
                f"{index}: {name} must be of {ours} or a folder of diffusers.pipelines, got {library!r}"
            )
        where = _subfolder(index, name, place)
        if not (folder / where).is_dir():
            raise ModelError(
                f"{index}: {name} must lie in the folder {where} beside it, got none; what takes its "
                "parts from elsewhere must be copied whole, by its `save_pretrained`"
            )
        _check_no_code(folder / where / f"{library}.py")


def _check_no_code(file: Path) -> None:
    """Refuse a file that diffusers would run in place of a library; newer releases ask first."""
    if file.exists():
        raise ModelError(
            f"{file}: must not be there, since it would be run; install it as a package"
        )


def _is_ours(library: object) -> bool:
    """Whether it is a folder of diffusers' pipelines, such as the one of safety checkers."""
    if not isinstance(library, str) or not library.isidentifier():
        return False
    from importlib.util import find_spec

    found = find_spec("diffusers")  # which imports nothing
    roots = (found.submodule_search_locations or []) if found else []
    return any((Path(root) / "pipelines" / library).is_dir() for root in roots)


def _subfolder(index: Path, name: str, place: Any) -> str:
    """Of a part; a modular index may name another one."""
    given = place.get("subfolder") if isinstance(place, Mapping) else None
    where = given or name
    if not isinstance(where, str) or not where.isidentifier():
        raise ModelError(f"{index}: {name}: subfolder must be a folder's name, got {where!r}")
    return where


def _check_weights(folder: Path) -> None:
    """Refuse a part whose weights are pickled, or variants that are not read."""
    there = [file for file in files_below(folder) if len(file.relative_to(folder).parts) == 2]
    for part in sorted({file.parent for file in there}):
        files = [file for file in there if file.parent == part]
        if any(file.suffix == ".safetensors" and not is_variant(file.name) for file in files):
            continue
        for file in files:
            if is_variant(file.name):
                raise ModelError(
                    f"{part}: weights must be .safetensors files, got only {file.name}, a variant that is "
                    f"not read; rename it to {plain_name(file.name)}"
                )
            if file.suffix in PICKLES:
                raise ModelError(
                    f"{part}: weights must be .safetensors files, got only pickled weights ({file.name})"
                )
