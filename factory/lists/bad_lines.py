"""Lines of a list that break a rule: as many are borne as is allowed, and told."""

from dataclasses import dataclass, field

from factory.errors import ListError


@dataclass
class BadLines:
    """Those of one list."""

    most: int
    """That are borne."""
    messages: list[str] = field(default_factory=list)
    """One message per line; of more than are borne only the first of them."""
    count: int = 0

    def add(self, where: str, error: ValueError) -> None:
        """Another one."""
        self.count += 1
        if self.count <= self.most + 1:
            self.messages.append(f"{where}: {error}")

    def check(self) -> None:
        """Raise `ListError` with the first one where there are more than are borne."""
        if self.count > self.most:
            lines = f"{self.count} bad line" + "s" * (self.count > 1)
            raise ListError(f"{self.messages[0]} ({lines}, --max-bad is {self.most})")
