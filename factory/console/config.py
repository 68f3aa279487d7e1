"""Read a configuration: preset, file, `--set`; every refusal names the file and line."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from ruamel.yaml.comments import CommentedMap

from factory.console.config_keys import meant
from factory.console.yaml_text import DEEPEST, parse_yaml, plain, read_mapping
from factory.errors import ConfigError, InputError
from schemas.config import Config
from schemas.record import Record
from schemas.running.cluster import SECRET_VALUE

PRESETS = Path(__file__).parents[1] / "presets"
FIT_PRESETS = Path(__file__).parents[2] / "trainer" / "presets"
"""Of trainings: the trainer's files, which `config show` shows as well."""
CAPTION_PRESETS = Path(__file__).parents[1] / "captions" / "presets"
"""Of captions to triplets."""
EDIT_PRESETS = Path(__file__).parents[1] / "edits" / "presets"
"""Of bulk edits."""
EVALUATION_PRESETS = Path(__file__).parents[2] / "trainer" / "evaluation" / "presets"
"""Of curves over editors' settings."""
LANGUAGE_PRESETS = Path(__file__).parents[2] / "trainer" / "language" / "presets"
"""Of trainings of language models."""
EXPORT_PRESETS = Path(__file__).parents[1] / "export" / "presets"
"""Of exports: one a format."""
MINIATURE = "miniature"
"""The preset for trying; its triplets and its model are called so as well."""

R = TypeVar("R", bound=Record)


def preset_names(presets: Path = PRESETS) -> list[str]:
    """The bundled presets, without their file's ending."""
    return sorted(path.stem for path in presets.glob("*.yaml"))


def preset_purposes(presets: Path = PRESETS) -> str:
    """Every preset and what it is for, by the first line of its file, for a message."""
    texts = {name: _preset_file(presets, name).read_text() for name in preset_names(presets)}
    first = {name: text.partition("\n")[0].lstrip("# ") for name, text in texts.items()}
    return "; ".join(f"{name} ({purpose})" for name, purpose in first.items())


@dataclass(frozen=True)
class Choice(Generic[R]):
    """A configuration, and in a few words where it is from."""

    config: R
    origin: str
    """Such as `preset paper`, or `my.yaml (base paper)`."""
    settings: tuple[str, ...] = ()
    """What was set beside it, such as `recipe.steps=25`."""

    def line(self, made: str) -> str:
        """The line that opens a start, `made` being what it will make."""
        return f"{self.origin}: {made}{'; ' + ', '.join(self.settings) if self.settings else ''}"


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
            # Of a key that came by `<<` no line is known.
            place = (mapping.lc.data or {}).get(key)
            self.origins[here] = f"{where}:{place[0] + 1}" if place else where
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
    return choose_config(kind, presets, preset, file, settings).config


def choose_config(
    kind: type[R],
    presets: Path,
    preset: str | None = None,
    file: Path | None = None,
    settings: Sequence[str] = (),
    *,
    options: Mapping[str, str] | None = None,
    unasked: Callable[[], tuple[str, str]] | None = None,
) -> Choice[R]:
    """As `read_config`, and where it is from.

    `options` are settings by the options that gave them, which messages name. `unasked` is asked where
    neither a preset nor a file is given: for the preset that alone can be meant, and why, or it raises
    `InputError`.
    """
    layers, asked = _Layers(presets), None
    if preset and file:
        raise ConfigError(
            f"--preset and --config: give one (a file names its preset as `base:`), "
            f"got {preset} and {file}"
        )
    if file is not None:
        layers.origins[()] = file.name
        base = _add_file(layers, file, file.name)
        origin = f"{file} (base {base})" if base else f"{file}"
    else:
        why = ""
        if preset is None:
            try:
                if unasked is None:
                    raise must_be_given("", presets)
                preset, why = unasked()
            except InputError as error:
                # What is wrong with the settings is said first: they are somebody's own words.
                known = preset_names(presets)
                preset, asked = MINIATURE if MINIATURE in known else known[0], error
        _add_preset(layers, preset, "--preset")
        origin = f"preset {preset}{f' ({why})' if why else ''}"
    for setting in settings:
        _add_setting(layers, setting)
    for option, setting in (options or {}).items():
        _add_setting(layers, setting, option)
    _check_secrets(layers, layers.values)
    try:
        # Checked as JSON, where strictness still lets a list be a range.
        config = kind.model_validate_json(json.dumps(layers.values), strict=True)
    except ValidationError as error:
        raise ConfigError(_first_problem(error, layers, kind)) from None
    if asked is not None:
        raise asked
    return Choice(config, origin, tuple(settings))


def amended(kind: type[R], base: Mapping[str, Any], settings: Sequence[str]) -> R:
    """What stands somewhere, as plain JSON, with `key=value` settings. Raises `ConfigError`."""
    layers = _Layers(PRESETS, json.loads(json.dumps(base)))
    for setting in settings:
        _add_setting(layers, setting)
    _check_secrets(layers, layers.values)
    try:
        return kind.model_validate_json(json.dumps(layers.values), strict=True)
    except ValidationError as error:
        raise ConfigError(_first_problem(error, layers, kind)) from None


def must_be_given(why: str, presets: Path, more: str = "") -> ConfigError:
    """The refusal to choose a preset for somebody; it names all there are."""
    return ConfigError(
        f"--preset or --config: must be given{f' {why}' if why else ''}, got neither{more}; presets: "
        f"{preset_purposes(presets)}"
    )


def _preset_file(presets: Path, name: str) -> Path:
    return presets / f"{name}.yaml"


def _add_preset(layers: _Layers, name: str, where: str) -> None:
    known = preset_names(layers.presets)
    if name not in known:
        raise ConfigError(f"{where}: must be one of {', '.join(known)}, got {name!r}")
    _add_file(layers, _preset_file(layers.presets, name), f"preset {name}")


def _add_file(layers: _Layers, file: Path, where: str) -> str | None:
    """Returns the preset that it is based on."""
    mapping = read_mapping(file, where)
    base = mapping.pop("base", None)
    if base is not None:
        _add_preset(layers, str(base), f"{where}: base")
    layers.merge(mapping, where)
    return None if base is None else str(base)


def _add_setting(layers: _Layers, setting: str, where: str = "--set") -> None:
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"{where}: must be key=value, got {setting!r}")
    path = tuple(key.strip().split("."))
    if len(path) > DEEPEST:
        raise ConfigError(f"{where}: must be a key of at most {DEEPEST} parts, got {len(path)}")
    value = parse_yaml(text, f"{where} {key}" if where == "--set" else where)
    into = layers.values
    for depth, name in enumerate(path[:-1], start=1):
        into = into.setdefault(name, {})
        layers.origins.setdefault(path[:depth], where)
        if not isinstance(into, dict):
            raise ConfigError(f"{where} {key}: {name} must be a group, got {json.dumps(into)[:80]}")
    into[path[-1]] = plain(value)
    layers.origins[path] = where


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
            return f"{where}: unknown key {key!r}; {meant(kind, path, problem['input'])}{more}"
        case "missing":
            return f"{where}: {key}: must be given, got nothing{more}"
        case _:
            rule = problem["msg"].removeprefix("Value error, ")
            # A rule over several fields is a rule of their group, but names the first of them.
            where = layers.origin((*path, rule.split()[0]))
            got = "" if ", got " in rule else f", got {json.dumps(problem['input'])[:80]}"
            return f"{where}: {key}: {rule}{got}{more}"
