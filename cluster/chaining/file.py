"""Read a chain file: steps with their places filled in; every refusal names the file and line."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from cluster.description import FILL_IN, beside, line_of, read_description
from cluster.programs import parse, takes_out
from factory.errors import ConfigError
from factory.storage.open import open_store
from schemas.canonical import content_hash
from schemas.running.chain import ROOT, ChainFile, ChainStep, GivenChain
from schemas.running.cluster import LOCAL, SECRET_VALUE

PLACE = re.compile(r"\$\{([^}]*)\}")


@dataclass(frozen=True)
class Chain:
    """What is run, in turn."""

    root: str
    """Absolute where it is a folder."""
    steps: tuple[ChainStep, ...]
    cluster: str | None = None
    """As `read_cluster` takes it."""
    lines: tuple[str, ...] = ()
    """Where each step stands, for a message; of a chain that was sent as JSON there is no file."""

    def where(self, step: ChainStep) -> str:
        """The line of a step, for a message."""
        place = dict(zip((one.name for one in self.steps), self.lines, strict=False))
        return place.get(step.name, f"steps.{step.name}")


def read_chain(file: str, root: str | None = None, cluster: str | None = None) -> Chain:
    """The chain that a file describes, in another root or on another cluster where one is given.

    Raises `ConfigError`: `FILE:LINE: key: rule, got value`.
    """
    given, mapping = read_description(ChainFile, file)
    where_root = f"{line_of(mapping, 'root', file)}: root"
    if root is not None:
        given, where_root = given.model_copy(update={"root": root}), "--root"
    lines = {name: f"{line_of(mapping['steps'], name, file)}: steps.{name}" for name in given.steps}
    if cluster is None and given.cluster is not None and given.cluster != LOCAL:
        cluster = beside(file, given.cluster)
        # Of one in a bucket whoever reads it says what is wrong with it.
        if "://" not in cluster and not Path(cluster).is_file():
            where = line_of(mapping, "cluster", file)
            raise ConfigError(
                f"{where}: cluster: must be a cluster file beside this one or `{LOCAL}`, got "
                f"{given.cluster!r}"
            )
    _check_filled_in({where_root: given.root} | {lines[name]: given.steps[name] for name in lines})
    return _filled_in(given, cluster or given.cluster, where_root, lines)


def chain_of(text: str) -> Chain:
    """The chain that was sent as JSON by `text_of`. Raises `ConfigError`."""
    try:
        given = GivenChain.model_validate_json(text)
    except ValueError:
        raise ConfigError("--given: must be a chain as `editmill chain` sends it") from None
    return Chain(given.root, given.steps)


def text_of(chain: Chain) -> str:
    """A chain as one word of a command line."""
    return GivenChain(root=chain.root, steps=chain.steps).model_dump_json()


def _check_filled_in(texts: dict[str, str]) -> None:
    for where, text in texts.items():
        if FILL_IN in text:
            word = next(word for word in text.split() if FILL_IN in word)
            raise ConfigError(f"{where}: must be filled in, got {word}")


def _filled_in(
    given: ChainFile, cluster: str | None, where_root: str, lines: dict[str, str]
) -> Chain:
    try:
        # As its store has it: a folder's is absolute.
        root = open_store(given.root).uri
    except ConfigError as error:
        raise ConfigError(f"{where_root}: {error}") from None
    steps: list[ChainStep] = []
    for name, command in given.steps.items():
        steps.append(_step(name, command, lines[name], root, steps))
    return Chain(root, tuple(steps), cluster, tuple(lines[name] for name in given.steps))


def _step(name: str, command: str, where: str, root: str, before: list[ChainStep]) -> ChainStep:
    places = {ROOT: root} | {step.name: step.out for step in before}
    hashes = {step.name: step.identity_hash for step in before}
    taken: list[str] = []

    def place(found: re.Match[str]) -> str:
        called = found[1]
        at = places.get(called)
        if at is None:
            known = ", ".join(one for one, uri in places.items() if uri is not None)
            raise ConfigError(
                f"{where}: ${{{called}}} must name an earlier step with a place, or the root, got "
                f"{called!r}; there are: {known}"
            )
        if called in hashes:
            taken.append(hashes[called])
        return at

    try:
        # First cut, then filled in: a root with a blank stays one word.
        words = [PLACE.sub(place, word) for word in shlex.split(command)]
    except ValueError as error:
        raise ConfigError(f"{where}: must be a command line, got one with {error}") from None
    for word in words:
        if SECRET_VALUE.search(word):
            raise ConfigError(
                f"{where}: must hold no secret, got one by its look; the chain is stored and shown. Set it "
                "in the environment, or on the nodes"
            )
    if words and takes_out(words[0]) and not _gives_out(words):
        words += ["--out", f"{root}/{name}"]
    parsed = parse(words, where)
    own = {"words": words, "takes": sorted(set(taken))}
    return ChainStep(name=name, words=tuple(words), out=parsed.out, identity_hash=content_hash(own))


def _gives_out(words: list[str]) -> bool:
    return any(word == "--out" or word.startswith("--out=") for word in words)
