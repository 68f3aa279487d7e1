"""What readers look for at names of its own beside a manifest: a dataset's card, an export's indices.

It is laid out whenever the run is sealed, snapshots included, and is derived: whoever seals again lays out
the same bytes, a lost one comes back, and nothing that the ledger reads depends on it. So it alone is
replaced where it lies. What is another's stays: ours bears a mark of ours, or holds the very bytes of an
object of the run's finish.
"""

import hashlib
from collections.abc import Callable, Iterable

from factory.errors import ObjectMissing
from factory.ledger import keys
from factory.ledger.manifest import manifest_sequences, newest_manifest, read_manifest
from factory.ledger.run import Run
from factory.storage.patience import READS, patiently
from schemas.ledger.commit import Manifest

LayOut = Callable[[Run, Manifest], Iterable[tuple[str, bytes]]]
"""What a stage lays out of a manifest: names below the root, or by `../` around it, and bytes.

A function of what the manifest names alone.
"""
MARKS = (
    "# Written by editmill at every sealing; without this line and the last it is yours.",
    "<!-- Written by editmill; without this line and the first it is yours. -->",
)
"""Of a text that is ours, at both ends: one of them is left where a byte of the other was changed."""


def lay_out(run: Run, what: LayOut) -> list[str]:
    """Lay out what the newest manifest gives. Returns the names at which another's object stays.

    Two sealers may lay out at once: each looks again whether a newer manifest was written meanwhile.
    """
    last, kept = None, list[str]()
    while (newest := newest_manifest(run)) is not None and newest[0] != last:
        last, manifest = newest
        kept = [name for name, data in what(run, manifest) if not _laid(run, name, data)]
    return kept


def not_laid_out(run: Run, what: LayOut) -> list[str]:
    """What is wrong with what lies there: ours, and what neither of the two newest manifests gives.

    A sealer that lives may not have laid out the newest one's yet. Of a stage with a finish also what
    does not lie there; runs without one were sealed before anything was laid out of them.
    """
    newest = [dict(what(run, read_manifest(run, one))) for one in manifest_sequences(run)[-2:]]
    wrong = []
    for name in newest[-1] if newest else ():
        given = {one[name] for one in newest if name in one}
        there = _read(run, name, given)
        if there in given or (there is None and not run.layout.finishes):
            continue
        if there is None or _is_ours(run, name, there):
            store, key = run.locate(name)
            wrong.append(
                f"{store.uri}/{key}: must be what the newest manifest gives, got "
                f"{'none' if there is None else 'other bytes'}; it is derived: `editmill seal` mends it"
            )
    return wrong


def _read(run: Run, name: str, given: set[bytes]) -> bytes | None:
    """What lies there, read again where a reply may have been spoilt."""
    there = None
    for _ in range(READS):
        there = _standing(run, name)
        if there is None or there in given:
            break
    return there


def _laid(run: Run, name: str, data: bytes) -> bool:
    there = _standing(run, name)
    if there == data:
        return True
    store, key = run.locate(name)
    if there is None and run.commits == "conditional":
        # What another puts there at this moment is not overwritten.
        if patiently(lambda: store.put_new(key, data)):
            return True
        there = _standing(run, name)
    if there is None or there == data or _is_ours(run, name, there):
        patiently(lambda: store.put(key, data))
        return True
    return False


def _standing(run: Run, name: str) -> bytes | None:
    store, key = run.locate(name)
    try:
        return patiently(lambda: store.get(key))
    except ObjectMissing:
        return None


def _is_ours(run: Run, name: str, there: bytes) -> bool:
    if any(mark.encode() in there for mark in MARKS):
        return True
    key = keys.finish(keys.finish_name(name), hashlib.sha256(there).hexdigest())
    return patiently(lambda: run.store.find(key)) is not None
