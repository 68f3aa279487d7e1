"""Read a configuration: preset, file, `--set`; every refusal names the file and line."""

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from ruamel.yaml.comments import CommentedMap

from factory.errors import ConfigError
from factory.yaml_text import parse_yaml, plain, read_mapping
from schemas.cluster import SECRET_VALUE
from schemas.config import Config
from schemas.record import Record

PRESETS = Path(__file__).parent / "presets"

R = TypeVar("R", bound=Record)


def preset_names(presets: Path = PRESETS) -> list[str]:
    """The bundled presets, without their file's ending."""
    return sorted(path.stem for path in presets.glob("*.yaml"))


@dataclass
class _Layers:
    """Merged values, and where each came from."""

    presets: Path
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[tuple[str, ...], str] = field(default_factory=dict)

    def merge(self, mapping: CommentedMap, where: str, path: tuple[str, ...] = ()) -> None:
        into = self.values
        for name in path:
            into = into.setdefault(name, {})
        for key, value in mapping.items():
            here = (*path, str(key))
            line = mapping.lc.key(key)[0] + 1 if mapping.lc.data else None
            self.origins[here] = f"{where}:{line}" if line else where
            if isinstance(value, CommentedMap) and isinstance(into.get(str(key), {}), dict):
                into.setdefault(str(key), {})
                self.merge(value, where, here)
            else:
                into[str(key)] = plain(value)

    def origin(self, path: tuple[str, ...]) -> str:
        """The file and line of a value, or of the nearest mapping around it."""
        while path and path not in self.origins:
            path = path[:-1]
        return self.origins.get(path, "config")


def load_config(
    preset: str | None = None, file: Path | None = None, settings: Sequence[str] = ()
) -> Config:
    """Merge, in this order: the preset (or the file's `base`), the file, then `key=value` settings.

    Raises `ConfigError`: `FILE:LINE: key: rule, got value`.
    """
    return read_config(Config, PRESETS, preset, file, settings)


def read_config(
    kind: type[R],
    presets: Path,
    preset: str | None = None,
    file: Path | None = None,
    settings: Sequence[str] = (),
) -> R:
    """As `load_config`, of any kind, with its presets in a folder of YAML files."""
    layers = _Layers(presets)
    if preset and file:
        raise ConfigError(
            f"--preset and --config: give one (a file names its preset as `base:`), "
            f"got {preset} and {file}"
        )
    if file is not None:
        layers.origins[()] = file.name
        _add_file(layers, file, file.name)
    else:
        _add_preset(layers, preset or "miniature", "--preset")
    for setting in settings:
        _add_setting(layers, setting)
    _check_secrets(layers, layers.values)
    try:
        # Checked as JSON, where strictness still lets a list be a range.
        return kind.model_validate_json(json.dumps(layers.values), strict=True)
    except ValidationError as error:
        raise ConfigError(_first_problem(error, layers, kind)) from None


def _add_preset(layers: _Layers, name: str, where: str) -> None:
    known = preset_names(layers.presets)
    if name not in known:
        raise ConfigError(f"{where}: must be one of {', '.join(known)}, got {name!r}")
    _add_file(layers, layers.presets / f"{name}.yaml", f"preset {name}")


def _add_file(layers: _Layers, file: Path, where: str) -> None:
    mapping = read_mapping(file, where)
    base = mapping.pop("base", None)
    if base is not None:
        _add_preset(layers, str(base), f"{where}: base")
    layers.merge(mapping, where)


def _add_setting(layers: _Layers, setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set: must be key=value, got {setting!r}")
    path = tuple(key.strip().split("."))
    value = parse_yaml(text, f"--set {key}")
    into = layers.values
    for depth, name in enumerate(path[:-1], start=1):
        into = into.setdefault(name, {})
        layers.origins.setdefault(path[:depth], "--set")
        if not isinstance(into, dict):
            raise ConfigError(f"--set {key}: {name} must be a group, got {json.dumps(into)[:80]}")
    into[path[-1]] = plain(value)
    layers.origins[path] = "--set"


def _check_secrets(layers: _Layers, value: Any, path: tuple[str, ...] = ()) -> None:
    """Refuse a key or a password by its look: a recipe is stored, and messages repeat values."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in items:
            _check_secrets(layers, item, (*path, str(name)))
    elif isinstance(value, str) and SECRET_VALUE.search(value):
        raise ConfigError(
            f"{layers.origin(path)}: {'.'.join(path)}: must hold no secret, got one by its look; "
            "set it in the environment of the workers"
        )


def _first_problem(error: ValidationError, layers: _Layers, kind: type[Record]) -> str:
    """One line for the first problem, unknown keys before all others."""
    problems = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    problem = problems[0]
    path = tuple(str(part) for part in problem["loc"])
    where, key = layers.origin(path), ".".join(path)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    match problem["type"]:
        case "extra_forbidden":
            known = _known_keys(kind, path[:-1])
            near = difflib.get_close_matches(path[-1], known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            return f"{where}: unknown key {key!r}; {hint}{more}"
        case "missing":
            return f"{where}: {key}: must be given, got nothing{more}"
        case _:
            rule = problem["msg"].removeprefix("Value error, ")
            # A rule over several fields is a rule of their group, but names the first of them.
            where = layers.origin((*path, rule.split()[0]))
            got = "" if ", got " in rule else f", got {json.dumps(problem['input'])[:80]}"
            return f"{where}: {key}: {rule}{got}{more}"


def _known_keys(kind: type[Record], path: tuple[str, ...]) -> list[str]:
    model: Any = kind
    for name in path:
        if name.isdecimal():
            continue
        info = model.model_fields.get(name) if hasattr(model, "model_fields") else None
        if info is None:
            return []
        kinds = [info.annotation, *getattr(info.annotation, "__args__", ())]
        model = next((k for k in kinds if isinstance(k, type) and issubclass(k, Record)), None)
    return list(model.model_fields) if model is not None else []
