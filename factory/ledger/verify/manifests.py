"""Check every manifest: its head, its parts, its totals, and each line against the ledger."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from factory.errors import Damaged, ObjectMissing
from factory.ledger import keys
from factory.ledger.manifest import part_lines, read_manifest
from factory.ledger.plan import Plan
from factory.ledger.run import Run
from factory.storage.patience import read_named
from schemas.ledger.commit import Manifest, Part, UnitLine

Counts = dict[str, int]


@dataclass
class Manifests:
    """Manifests of a run, checked segment by segment so that no list of all units is held."""

    run: Run
    plan: Plan
    sequences: Sequence[int]
    """Of those that are known, in order; what is missing between them is damage."""
    damages: list[str] = field(default_factory=list)
    heads: dict[int, Manifest] = field(default_factory=dict)
    _counts: dict[str, Counts] = field(default_factory=dict)
    """Of each part that was checked; empty where it could not be counted."""

    def __post_init__(self) -> None:
        last = self.sequences[-1] if self.sequences else -1
        for sequence in range(last + 1):
            try:
                self.heads[sequence] = read_manifest(self.run, sequence)
            except (Damaged, ObjectMissing) as error:
                self.damages.append(str(error))
        for sequence, manifest in self.heads.items():
            self.damages += self._check_head(sequence, manifest)

    @property
    def whole_units(self) -> int:
        """The units of the longest plan that was sealed whole."""
        return max((m.units for m in self.heads.values() if not m.partial), default=0)

    def check_segment(self, segment: int, ledger: Mapping[int, set[UnitLine]]) -> None:
        """Compare all parts of a segment with what its commits hold, any generation of them."""
        prefix = keys.manifest_part(keys.segment_name(segment), "").removesuffix(".parquet")
        for sequence, manifest in self.heads.items():
            for part in manifest.parts:
                if part.key.startswith(prefix) and part.key not in self._counts:
                    self._check_part(keys.manifest(sequence), segment, part, ledger)

    def finish(self) -> list[str]:
        """What is wrong, after every segment was checked."""
        for sequence, manifest in self.heads.items():
            counted = [self._counts.get(part.key) for part in manifest.parts]
            if None in counted:
                self.damages.append(
                    f"{self.run.uri}/{keys.manifest(sequence)}: a part is of no segment of the plan"
                )
            sums = {"units": manifest.units, "items": manifest.items, **manifest.counts}
            for name, said in sums.items():
                total = sum(counts[name] for counts in counted if counts)
                if all(counted) and total != said:
                    called = f"{self.run.layout.item}s" if name == "items" else name
                    self.damages.append(
                        f"{self.run.uri}/{keys.manifest(sequence)}: {called} do not add up: "
                        f"{said} there, {total} in its parts"
                    )
        return self.damages

    def _check_head(self, sequence: int, manifest: Manifest) -> Iterator[str]:
        where = f"{self.run.uri}/{keys.manifest(sequence)}"
        if manifest.version != Manifest.model_fields["version"].default:
            yield f"{where}: version {manifest.version} is not known here"
        if manifest.recipe_hash != self.run.recipe_hash:
            yield f"{where}: sealed with another recipe"
        planned = [h.units for h in self.plan.records if h.digest == manifest.plan_digest]
        if not planned:
            yield f"{where}: sealed with another plan"
        elif manifest.partial != (manifest.units < planned[0]):
            yield f"{where}: partial is {manifest.partial}, with {manifest.units} of {planned[0]}"
        names = [part.key.removeprefix(keys.MANIFEST_PARTS)[:6] for part in manifest.parts]
        if names != sorted(set(names)):
            yield f"{where}: its parts are not in order"
        for one in manifest.objects:
            try:
                what = f"{self.run.uri}/{one.key}: not the bytes that {where} names"
                read_named(self.run.store, one.key, one.sha256, what)
            except Damaged as error:
                yield str(error)
            except ObjectMissing:
                yield f"{where}: names {one.key}, not there"

    def _check_part(
        self, where: str, segment: int, part: Part, ledger: Mapping[int, set[UnitLine]]
    ) -> None:
        say: Callable[[str], None] = self.damages.append
        self._counts[part.key] = {}
        try:
            lines = part_lines(self.run, part)
        except Damaged as error:
            say(str(error))
            return
        named = keys.manifest_part(keys.segment_name(segment), part.sha256)
        units = [line.unit for line in lines]
        planned = range(len(self.plan.units))
        if (part.key, part.units) != (named, len(lines)):
            say(f"{self.run.uri}/{where}: part {part.key} is not {named} of {len(lines)} units")
        if units != sorted(set(units)) or any(
            unit not in planned or keys.segment_of(unit) != segment for unit in units
        ):
            say(f"{self.run.uri}/{part.key}: its units are not those of its segment")
            return
        newest = {one.key for one in self.heads[max(self.heads)].parts}
        for line in lines:
            # Until it is made anew, and where other bytes came of it, in manifests before that.
            anew = line.unit in self.plan.retries.anew
            if anew and (part.key not in newest or not ledger.get(line.unit)):
                continue
            if line not in ledger.get(line.unit, set()):
                seen = "is not the sealed one" if line.unit in ledger else "is damaged or missing"
                say(f"{self.run.uri}/{part.key}: unit {line.unit}'s commit {seen}")
        self._counts[part.key] = {
            "units": len(lines),
            "items": sum(self.plan.size(unit) for unit in units),
        } | {name: sum(line.counts[name] for line in lines) for name in self.run.layout.counts}
