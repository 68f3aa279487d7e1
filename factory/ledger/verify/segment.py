"""Check one segment: its commits, their data, and the roll-up that sums them up."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from factory.errors import Damaged, ObjectMissing
from factory.ledger import keys
from factory.ledger.book import READERS, Book
from factory.ledger.plan import Plan, read_plan
from factory.ledger.run import Run
from factory.ledger.units.attempts import find_commit, line_of, read_found, whole_attempts
from factory.ledger.units.commits import commit_names
from factory.ledger.verify.unit import Check, check_unit, no_check
from schemas.ledger.commit import LedgerLine, UnitLine


@dataclass(frozen=True)
class _Checked:
    """One generation of a unit."""

    unit: int
    is_newest: bool = False
    rows: int = 0
    contents: set[UnitLine] = field(default_factory=set)
    damages: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    """Keys of its data that is not what was committed."""


class SegmentCheck:
    """What one segment holds and what is wrong with it."""

    def __init__(
        self, book: Book, segment: int, *, must_be_rolled_up: bool, check: Check = no_check
    ) -> None:
        self.check = check
        self.book, self.run, self.plan = book, book.run, book.plan
        self.units = 0
        self.rows = 0
        self.damages: list[str] = []
        self.broken: dict[int, list[str]] = {}
        """Units to be made anew, each with the keys of its damaged data."""
        self.contents: dict[int, set[UnitLine]] = {}
        """What the commits of a unit hold, one for each generation."""
        # The roll-up first: whatever it sums up is then in the listing, also beside a living run.
        self._rolled_up = self._read_roll_up(segment, must_be_rolled_up)
        self._names = [
            name
            for name in commit_names(self.run.store, segment)
            if _key(name) not in self.plan.retries.aside
        ]
        self._check(segment)

    def _read_roll_up(self, segment: int, must_be_there: bool) -> dict[int, LedgerLine]:
        try:
            return {line.unit: line for line in self.book.read_roll_up(segment)}
        except Damaged as error:
            self.damages.append(str(error))
        except ObjectMissing:
            if must_be_there:
                self._say(keys.roll_up(segment), "the run is sealed, its roll-up is not there")
        return {}

    def _check(self, segment: int) -> None:
        chosen = self._chosen(segment)
        sealed = self.run.commits == "sealed"
        own = [name for name in self._names if (name.attempt is not None) == sealed]
        listed = {(name.unit, name.generation) for name in own}
        strays = [name for name in self._names if is_stray(self.plan, name)]
        for name in true_strays(self.run, strays):
            self._say(_key(name), "unit is not in the plan")
        stored = listed - {(name.unit, name.generation) for name in strays}
        with ThreadPoolExecutor(READERS) as pool:
            self.damages += [said for said in pool.map(self._broken, self._names) if said]
            for checked in pool.map(
                lambda one: self._check_unit(one[0], one[1], chosen), sorted(stored)
            ):
                self.damages += checked.damages
                self.contents.setdefault(checked.unit, set()).update(checked.contents)
                if checked.damages:
                    self.broken[checked.unit] = checked.damaged
                if checked.is_newest:
                    self.units += 1
                    self.rows += checked.rows
        for unit, line in self._rolled_up.items():
            known = line.generation < self.plan.retries.anew.get(unit, 0)
            if not known and (unit, line.generation) not in listed:
                self._say(keys.commit(unit, line.generation), "rolled up, not there")
                self.broken.setdefault(unit, [])

    def _chosen(self, segment: int) -> dict[int, UnitLine]:
        try:
            return self.book.chosen(segment) | self._rolled_up
        except Damaged:  # of a manifest, which is found beside
            return {**self._rolled_up}

    def _broken(self, name: keys.CommitName) -> str:
        """Attempts are passed over where they are not whole, so each is looked at."""
        if name.attempt is None:
            return ""
        try:
            read_found(self.run, name.unit, name.generation, _key(name))
        except (Damaged, ObjectMissing) as error:
            return str(error)
        return ""

    def _check_unit(self, unit: int, generation: int, chosen: dict[int, UnitLine]) -> "_Checked":
        line, rolled_up = chosen.get(unit), self._rolled_up.get(unit)
        if rolled_up and rolled_up.generation != generation:
            line = rolled_up = None
        try:
            found = find_commit(self.run, self.plan, unit, line, generation)
        except (Damaged, ObjectMissing) as error:
            return _Checked(unit, damages=[str(error)])
        rows, damages, damaged = check_unit(self.run, self.plan, found, self.check)
        own = line_of(self.run, found)
        if rolled_up and rolled_up != own:
            damages.append(
                f"{self.run.uri}/{found.key}: is not the commit that its roll-up sums up"
            )
        contents = {own.content}
        is_newest = generation == self.plan.generation(unit)
        if not is_newest and self.run.commits == "sealed":
            # Which of these counted then, only a manifest of that day can say.
            whole = whole_attempts(self.run, unit, generation)
            contents |= {line_of(self.run, one).content for one in whole}
        return _Checked(unit, is_newest, rows, contents, damages, damaged)

    def _say(self, key: str, what: str) -> None:
        self.damages.append(f"{self.run.uri}/{key}: {what}")


def is_stray(plan: Plan, name: keys.CommitName) -> bool:
    """Whether a plan has no such unit, or no such generation of it."""
    return name.unit not in plan.units or name.generation > plan.generation(name.unit)


def true_strays(run: Run, names: list[keys.CommitName]) -> list[keys.CommitName]:
    """Those that the plan does not have either as it is now: it may have grown since it was read."""
    if not names:
        return []
    try:
        now = read_plan(run)
    except (Damaged, ObjectMissing):
        return names
    return [name for name in names if is_stray(now, name)]


def _key(name: keys.CommitName) -> str:
    if name.attempt is None:
        return keys.commit(name.unit, name.generation)
    return keys.attempt(name.unit, name.generation, name.attempt)
