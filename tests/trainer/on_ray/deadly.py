"""Makers that die with their process at a unit, hang there, lose their root, or cannot be made."""

import os
import shutil
import signal
import time
import uuid
from pathlib import Path

from factory.errors import InputError


def load_deadly(load, unit, marks, run, pool):
    """What `load` makes, but for a unit."""
    return Deadly(load(run, pool), unit, marks)


class Deadly:
    """Leaves a mark of every death."""

    def __init__(self, maker, unit, marks):
        self.maker, self.unit, self.marks = maker, unit, marks

    def make(self, unit, items):
        if unit == self.unit:
            Path(self.marks, uuid.uuid4().hex).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.maker.make(unit, items)


def load_hanging(load, unit, marks, run, pool):
    """What `load` makes, but the first time at a unit."""
    return Hanging(load(run, pool), unit, marks)


class Hanging(Deadly):
    def make(self, unit, items):
        if unit == self.unit and not list(Path(self.marks).iterdir()):
            Path(self.marks, uuid.uuid4().hex).touch()
            time.sleep(3600)
        return self.maker.make(unit, items)


def load_vanishing(load, unit, root, run, pool):
    """What `load` makes, but at a unit the root is deleted first."""
    return Vanishing(load(run, pool), unit, root)


class Vanishing(Deadly):
    """Its marks are the root."""

    def make(self, unit, items):
        if unit == self.unit:
            # At once, whatever another thread is writing there.
            os.rename(self.marks, f"{self.marks}-gone")
            shutil.rmtree(f"{self.marks}-gone", ignore_errors=True)
        return self.maker.make(unit, items)


def load_refusing(run, pool):
    """A model that this machine lacks."""
    raise InputError("nowhere: must be a model's folder")
