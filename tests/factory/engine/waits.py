"""What would stop the processor, traced on a device that holds no numbers."""

from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode

META = torch.device("meta")


class Waits(TorchDispatchMode):
    """Counts what would stop the processor: numbers read from the device, copies that block."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.crossed: set[tuple[tuple[int, ...], torch.dtype]] = set()
        """Shapes, and in which numbers they came from the host to the device or back."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        with self:
            # In inference mode composed operations come whole.
            parts = func.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        name = func.overloadpacket.__name__
        if name in ("_local_scalar_dense", "nonzero", "is_nonzero", "equal"):
            self.found[name] += any(getattr(a, "is_meta", False) for a in args)
        if name in ("_to_copy", "copy_"):
            source = args[1] if name == "copy_" else args[0]
            target = args[0].device if name == "copy_" else kwargs.get("device", source.device)
            crosses = (source.device == META) != (torch.device(target or source.device) == META)
            numbers = args[0].dtype if name == "copy_" else kwargs.get("dtype") or source.dtype
            free = kwargs.get("non_blocking", len(args) > 2 and args[2])
            # Numbers that change on the way do so first, in memory that is not locked.
            free = bool(free) and numbers == source.dtype
            self.found["blocking copy"] += crosses and not free
            self.found["free copy"] += crosses and free
            if crosses:
                self.crossed.add((tuple(source.shape), numbers))
        return func(*args, **kwargs)

    @property
    def kinds(self) -> set[str]:
        """Those that came at all."""
        return set(+self.found)
