"""`edit` at work on small pictures: as it is, or with an editor that turns colours round."""

import atexit
import hashlib
from functools import cached_property, partial
from unittest.mock import patch

from factory.edits.edit import Edited, EditMaker, edit_stage
from factory.edits.listing import Listed
from factory.edits.opening import Opener
from factory.edits.prepare import pinned, prepare
from factory.errors import ObjectMissing
from factory.ledger.keys import AROUND, BESIDE, data
from factory.ledger.manifest import newest_manifest
from factory.ledger.named import intent_of
from factory.ledger.run import Run
from factory.ledger.units.attempts import find_commit, whole_commit
from factory.storage.key_rules import USERS
from factory.storage.local import LocalStore
from factory.verbs.machine import load_studio
from factory.work.job import run_job
from schemas.arrow import read_rows
from schemas.editors import Ip2p
from schemas.edits import EDIT, EditCompute, EditItem, EditRecipe, Edits
from tests.chaos.stores.memory_store import MemoryStore
from tests.chaos.subjects.subject import Subject
from tests.factory.edits.pictures import Inverting, file, picture
from tests.factory.engine.tiny import save_tiny

BROKEN_OF = 6
"""Of so many pictures the second cannot be opened, until failed ones are to be made again."""
TAKEN = 2
"""Number of the picture at whose key something else stands."""
LONGEST = 9
"""Units that a plan may be extended to, of less work."""
LOST = "lost.png"
"""Left by an attempt that was lost."""


class Edit(Subject):
    """As it is: decoders, a tiny model of random weights, units of `outcomes` pictures."""

    layout = EDIT

    @property
    def folder_of_kept(self):
        return AROUND

    @property
    def unit_items(self):
        return self.work.outcomes

    @property
    def anothers(self):
        return {key_of(TAKEN): b"another's"}

    def lay_out(self):
        if not (self.folder / "editor").exists():
            save_tiny(self.folder / "editor", 0, channels=8)
        self.put_pictures(mended=False)

    def put_pictures(self, *, mended: bool) -> None:
        """What is to be edited; broken files are whole ones later."""
        for number in range(max(LONGEST, self.work.units) * self.unit_items):
            broken = number % BROKEN_OF == 1 and not mended
            found = b"not yet" if broken else file(picture(number, (16, 16)))
            self.pictures.put(key_of(number), found)

    @cached_property
    def pictures(self):
        return LocalStore(self.folder / "pictures", USERS)

    @cached_property
    def stage(self):
        return edit_stage(load_studio)

    @cached_property
    def recipe(self):
        self.lay_out()
        ip2p = Ip2p(model={"source": str(self.folder / "editor")}, steps=1)
        return pinned(self._recipe(images=self.pictures.uri, ip2p=ip2p), None)

    def _recipe(self, **fields) -> EditRecipe:
        sizes = {"size_px": 16, "unit_images": self.unit_items}
        return EditRecipe(seed=self.work.number, **sizes, **fields)

    def terms(self, limit=None):
        compute = EditCompute(
            device="cpu",
            gpus_per_worker=0,
            min_workers=self.work.workers,
            max_workers=self.work.workers,
            threads=1,
            # So that the calls of a store come in one order.
            fetchers=1,
        )
        budget = {"limit": limit and limit * self.unit_items}
        return Edits(recipe=self.recipe, compute=compute, budget=budget)

    def items(self, count=None):
        units = self.work.units if count is None else count
        return [item_of(number) for number in range(units * self.unit_items)]

    def start(
        self,
        store,
        run_with,
        count=None,
        *,
        retry_failed=False,
        limit=None,
        once_planned=lambda run, plan: None,
    ):
        if retry_failed:
            self.put_pictures(mended=True)
        config = self.terms(limit)
        try:
            with (
                patch("factory.edits.prepare.open_store", lambda _: store),
                patch("factory.edits.prepare.pinned", lambda recipe, listed: recipe),
            ):
                run, plan, _ = prepare(
                    config,
                    store.uri,
                    lambda: Listed(self.items(count)),
                    extend=True,
                    retry_failed=retry_failed,
                )
            once_planned(run, plan)
            return run_job(self.stage, run, plan, config, run_with(self.stage))
        finally:
            if retry_failed:
                self.put_pictures(mended=False)

    def ids(self, items):
        return [item["key"] for item in items]

    def names(self, items, rows):
        return [(row["key"], 0) for row in rows]

    def kept(self, run, plan, line):
        """Pictures at their keys, whose bytes are those that the unit's outcomes name."""
        rows = whole_commit(run, find_commit(run, plan, line.unit, line)).rows
        return [(row["key"], 0) for row in rows if stands(run, row)]

    def named(self, run):
        newest = newest_manifest(run)
        named = {}
        for one in newest[1].objects if newest else ():
            rows, _ = read_rows(EDIT.outcomes, run.store.get(one.key))
            assert all((row["verdict"] == "done") == (row["sha256"] is not None) for row in rows)
            named |= {row["key"]: row["sha256"] for row in rows if row["verdict"] == "done"}
        return named

    def litter(self, store):
        super().litter(store)
        lost = intent_of({LOST: b"lost"})
        store.put(data("edit", 1, hashlib.sha256(lost.bytes).hexdigest(), "json"), lost.bytes)
        store.around(BESIDE).put(LOST, b"lost")

    def heard(self, maker, hear):
        maker.editors = HeardEditors(maker.editors, hear)
        maker.make = partial(heard_make, maker.make, hear)
        return maker


class EditStub(Edit):
    """With a stubbed editor and pictures in memory: all else is the product's."""

    def lay_out(self):
        """Pictures are put where they are first asked for."""

    @cached_property
    def pictures(self):
        store = MemoryStore()
        self.__dict__["pictures"] = store
        self.put_pictures(mended=False)
        return store

    @cached_property
    def stage(self):
        return edit_stage(partial(self._load, 0))

    @cached_property
    def recipe(self):
        return self._recipe(images="pictures", ip2p=Ip2p(model={"source": "stub"}, steps=1))

    def own_maker(self, number, run):
        run = Run(run.store, self.recipe, run.commits, layout=run.layout)
        return self._load(number, run, self.terms().compute)

    def _load(self, number, run, compute):
        with patch("factory.edits.edit.open_images", lambda uri: self.pictures):
            maker = EditMaker(run, compute, NumberedEditors(number, run.commits))
        maker.opener = LastingOpener(self.pictures)
        return maker


class NumberedEditors(Inverting):
    """Editors whose bits are their own; not on a weak store, where those of the last writer would stay."""

    def __init__(self, number, commits):
        super().__init__()
        self.number, self.bits = number, number % 251 if commits == "conditional" else 0

    def edit(self, asked):
        for place, edited in super().edit(asked):
            yield place, Edited(edited.picture ^ self.bits, edited.reason, edited.facts)

    def environment(self):
        return super().environment().model_copy(update={"device": f"stub {self.number}"})


_opener = Opener(MemoryStore())
"""Whose decoders stay for the next run of this process."""
atexit.register(_opener.close)


class LastingOpener(Opener):
    """Opens with the decoders of this process."""

    def __init__(self, images):
        super().__init__(images)
        self._idle = _opener._idle

    def close(self):
        """Nothing: the decoders stay."""


class HeardEditors:
    """Tells of each picture before it is handed over."""

    def __init__(self, editors, hear):
        self.editors = editors
        self.hear = hear

    def edit(self, asked):
        for place, edited in self.editors.edit(asked):
            self.hear(asked[place][0].key, 0)
            yield place, edited

    def environment(self):
        return self.editors.environment()


def heard_make(make, hear, unit, items):
    """A unit's outcomes; tells of those that no editor was asked for."""
    outcomes = make(unit, items)
    for row in outcomes.rows:
        if row.verdict != "done":
            hear(row.key, 0)
    return outcomes


def stands(run, row):
    """Whether a row's object is there and has the bytes that it names."""
    try:
        found = run.place.get(row["key"]) if row["sha256"] else b""
    except ObjectMissing:
        return False
    return row["sha256"] == hashlib.sha256(found).hexdigest() and len(found) == row["bytes"]


def key_of(number: int) -> str:
    """Of a picture, and of its edit."""
    return f"{number}.png"


def item_of(number: int) -> EditItem:
    """A picture that is asked for."""
    given = {"key": key_of(number), "image": key_of(number), "editor": "ip2p"}
    fields = dict.fromkeys(EditItem.model_fields) | given | {"instruction": "turn it round"}
    return EditItem(**fields)
