"""A sealed run as its readers see it: the manifest, its lines, the files of data."""

import json
from collections.abc import Iterator

from factory.errors import Damaged, ObjectMissing, first_line
from factory.ledger import keys
from factory.ledger.lines import read_lines
from factory.ledger.run import Run
from factory.storage.numbered import numbers
from factory.storage.patience import read_named, read_whole
from schemas.canonical import canonical_json, content_hash
from schemas.ledger.commit import Manifest, Part, UnitLine
from schemas.ledger.layout import from_stored, to_stored


def manifest_sequences(run: Run) -> list[int]:
    """The sequence numbers of all manifests, in order."""
    return numbers(run.store, keys.MANIFESTS, keys.manifest)


def read_manifest(run: Run, sequence: int) -> Manifest:
    """A manifest. Raises `ObjectMissing`, or `Damaged` where it was not written by this program."""
    key = keys.manifest(sequence)

    def taken(data: bytes) -> Manifest:
        try:
            stored = from_stored(run.layout, Manifest, json.loads(data))
            manifest = Manifest.model_validate(stored)
            if manifest_bytes(run, manifest) != data:
                raise ValueError("bytes are not in the form that this program writes")
        except ValueError as error:
            raise Damaged(f"{run.uri}/{key}: not a manifest: {first_line(error)}") from None
        return manifest

    return read_whole(run.store, key, taken)


def newest_manifest(run: Run) -> tuple[int, Manifest] | None:
    """The manifest with the highest sequence number, or None where nothing was sealed.

    Raises `Damaged`.
    """
    sequences = manifest_sequences(run)
    return (sequences[-1], read_manifest(run, sequences[-1])) if sequences else None


def manifest_bytes(run: Run, manifest: Manifest) -> bytes:
    """A manifest as it is stored."""
    return canonical_json(to_stored(run.layout, manifest))


def manifest_hash(run: Run, manifest: Manifest) -> str:
    """sha256 of the manifest: equal for equal datasets."""
    return content_hash(to_stored(run.layout, manifest))


def unit_lines(run: Run, manifest: Manifest) -> Iterator[UnitLine]:
    """The manifest's lines in unit order. Raises `Damaged` where a part is not what it should be."""
    for part in manifest.parts:
        yield from part_lines(run, part)


def part_lines(run: Run, part: Part) -> list[UnitLine]:
    """The lines of one part. Raises `Damaged`."""
    if not keys.is_manifest_part(part.key):
        raise Damaged(
            f"{run.uri}/{keys.MANIFESTS}: a manifest names {part.key!r}, which is no part's"
        )
    what = f"{run.uri}/{part.key}: not the bytes that the manifest names"
    try:
        data = read_named(run.store, part.key, part.sha256, what)
    except ObjectMissing:
        raise Damaged(f"{run.uri}/{part.key}: named by the manifest, not there") from None
    try:
        return read_lines(run.layout, UnitLine, data)
    except (ValueError, OSError) as error:
        raise Damaged(
            f"{run.uri}/{part.key}: not a part of a manifest: {first_line(error)}"
        ) from None


def sealed_data_uris(run: Run) -> list[str]:
    """The data files of the newest manifest, in unit order: what a reader of the data opens."""
    newest = newest_manifest(run)
    lines = unit_lines(run, newest[1]) if newest else []
    return [f"{run.uri}/{line.data_key}" for line in lines if line.data_key]


def sealed_object_uris(run: Run) -> list[str]:
    """What the stage's finish left of the newest manifest, such as `edit`'s tables of results, in order."""
    newest = newest_manifest(run)
    return [f"{run.uri}/{one.key}" for one in newest[1].objects] if newest else []
