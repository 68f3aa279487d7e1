"""Who takes part in the model's histories."""

from dataclasses import replace

from factory.ledger.plan import Plan
from factory.pairs.source import Made
from tests.chaos.memory_store import MemoryStore
from tests.chaos.stepped import Stepped
from tests.stub_source import StubSource


class OwnSource(StubSource):
    """A stub whose pictures and scores nobody else makes: another machine's, in the worst case."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def pairs(self, draws):
        for outcome in super().pairs(draws):
            if not isinstance(outcome, Made):
                yield outcome
                continue
            scores = outcome.scores
            other = scores.model_copy(update={"clip_sim_0": scores.clip_sim_0 + self.number / 1e6})
            yield replace(outcome, scores=other, original=outcome.original ^ (self.number % 251))

    def environment(self):
        return super().environment().model_copy(update={"device": f"stub {self.number}"})


class Task:
    """Somebody at work, and what the model knew when it began."""

    def __init__(self, kind: str, stepped: Stepped, plan: Plan, known: dict[int, str]) -> None:
        self.kind = kind
        self.stepped = stepped
        self.plan = plan
        self.known = dict(known)
        self.source = OwnSource(0)
        self.unit = -1
        self.partial = True


class WeakStore(MemoryStore):
    """Lets every conditional writer win, and the last one's bytes stay."""

    def put_new(self, key: str, data: bytes) -> bool:
        self.put(key, data)
        return True
