"""Where in a UNet an attention layer or a residual block lies."""

import re
from dataclasses import dataclass
from typing import Any

_NAME = re.compile(r"(down|mid|up)_blocks?(?:\.(\d+))?\.(?:attentions|resnets)\.(\d+)")


@dataclass(frozen=True)
class Layer:
    """By diffusers' names: `up_blocks.1.attentions.2` and `up_blocks.1.resnets.2` are both `up.1.2`."""

    name: str
    """Part (`down`, `mid`, `up`), block of it, number of its attentions or resnets within that."""
    scale: int
    """Latents to a side of one of its positions: 1, 2, 4 ..."""

    @classmethod
    def of(cls, module: str, unet: Any) -> "Layer":
        """By the name of a UNet's module."""
        found = _NAME.match(module)
        assert found is not None, module
        part, block, number = found[1], int(found[2] or 0), found[3]
        last = len(unet.config.block_out_channels) - 1
        level = {"down": block, "mid": last, "up": last - block}[part]
        return cls(f"{part}.{block}.{number}", 2**level)

    def within(self, names: tuple[str, ...]) -> bool:
        """Whether one of these names is its own, or its block's or part's (`up.1`, `up`)."""
        return any(f"{self.name}.".startswith(f"{name}.") for name in names)
