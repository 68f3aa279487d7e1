"""One unit of `encode`, as its file is mapped into memory."""

from torch import Tensor

from factory.engine.text import Words
from trainer.feeding.pictures import Shape


class MappedUnit:
    """Rows and contexts by their names; copies are given out, so that the disk is waited for here."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        """`tensors` as `Encoder.encode` makes them."""
        self._tensors = tensors
        self._rows: dict[int, tuple[Shape, str, int]] = {}
        for name in tensors:
            kind, _, shape = name.partition(".")
            if kind == "rows":
                height, _, width = shape.partition("x")
                size = int(height), int(width)
                for place, row in enumerate(tensors[name].tolist()):
                    self._rows[row] = size, f"latents.{shape}", place
        names = tensors["instructions"].numpy()
        self._said = {name.tobytes(): place for place, name in enumerate(names)}

    def row(self, row: int, flip: bool) -> tuple[Shape, Tensor] | None:
        """A row's shape in pixels and latents (3, 4, h, w); None where its pictures were unreadable."""
        if row not in self._rows:
            return None
        shape, name, place = self._rows[row]
        return shape, self._tensors[name][place, int(flip)].clone()

    def words(self, name: bytes) -> Words | None:
        """The context of an instruction; None where another unit holds it."""
        if name not in self._said:
            return None
        place, pooled = self._said[name], self._tensors.get("pooled")
        context = self._tensors["contexts"][place].clone()
        return Words(context, None if pooled is None else pooled[place].clone())
