"""Who takes part in the model's histories."""

from factory.ledger.plan import Plan
from tests.chaos.stores.memory_store import MemoryStore
from tests.chaos.stores.stepped import Stepped
from tests.chaos.subjects.subject import Own


class Task:
    """Somebody at work, and what the model knew when it began."""

    def __init__(self, kind: str, stepped: Stepped, plan: Plan, known: dict[int, str]) -> None:
        self.kind = kind
        self.stepped = stepped
        self.plan = plan
        self.known = dict(known)
        self.maker: Own
        """Of a worker alone."""
        self.unit = -1
        self.partial = True


class WeakStore(MemoryStore):
    """Lets every conditional writer win, and the last one's bytes stay."""

    def put_new(self, key: str, data: bytes) -> bool:
        self.put(key, data)
        return True
