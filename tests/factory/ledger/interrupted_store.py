"""A store beside whose calls something happens, once."""

from tests.chaos.stores.passing_store import PassingStore


class Interrupted(PassingStore):
    """Before or after the first call of a verb on keys, or listings, with a prefix, something happens."""

    moments = frozenset(
        {
            ("before", "put"),
            ("before", "get"),
            ("after", "find"),
            ("before", "list"),
            ("after", "list"),
        }
    )

    def __init__(self, inner, when, verb, prefix, beside):
        super().__init__(inner)
        if (when, verb) not in self.moments:
            raise ValueError(f"moment must be one of {sorted(self.moments)}, got {(when, verb)}")
        self.when, self.prefix, self.beside = (when, verb), prefix, beside

    def _at(self, when, verb, key):
        if self.beside and (when, verb) == self.when and key.startswith(self.prefix):
            beside, self.beside = self.beside, None
            beside()

    def put(self, key, data):
        self._at("before", "put", key)
        super().put(key, data)

    def get(self, key):
        self._at("before", "get", key)
        return super().get(key)

    def find(self, key):
        found = super().find(key)
        self._at("after", "find", key)
        return found

    def list(self, prefix=""):
        self._at("before", "list", prefix)
        # A listing is what it was when it was asked for.
        listed = list(super().list(prefix))
        self._at("after", "list", prefix)
        return iter(listed)
