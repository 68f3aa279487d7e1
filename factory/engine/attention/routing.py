"""What rows of a batch take of each other, layer by layer: queries and keys, features, columns of maps.

The engine's one primitive is an index: for self-attention, row j uses the queries and keys of row r(j).
An index on the batch axis needs no attention maps, works with fused attention at any batch size and keeps
shapes static. Copying pre-softmax logits from row r(j), as InstructPix2Pix does, gives the same result,
because the logits depend on queries and keys alone. Features go the same way, cross-attention by
`factory/engine/attention/cross.py`. What a row does not share is exactly what it is alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from factory.engine.attention.cross import CrossState
from factory.engine.attention.layer import Layer
from factory.errors import ModelError


@dataclass
class Sharing:
    """Of the rows of one forward."""

    attention: Tensor
    """int64 (layer, row): the row whose queries and keys each uses in each self-attention layer; a row that
    shares with nobody names itself, so that a graph that was captured or compiled keeps its shapes."""
    features: Tensor | None = None
    """int64 (layer, row): the same of the residual branches of the decoder's residual blocks."""
    cross: CrossState | None = None
    map_scales: frozenset[int] = frozenset()
    """Scales of the layers whose word maps are kept."""
    maps: dict[int, list[Tensor]] = field(default_factory=dict)
    """By scale, of each of its layers (row, position): the share of attention that goes to `cross.words`,
    means over heads."""


class Router:
    """Of one UNet: its layers follow what is shared in a forward."""

    def __init__(self, unet: Any) -> None:
        self.unet = unet
        self.now: Sharing | None = None
        self.layers: list[Layer] = []
        """Those with self-attention."""
        self.feature_layers: list[Layer] = []
        """The decoder's residual blocks."""
        self._crosses = False
        self._injects = False

    @classmethod
    def of(cls, unet: Any) -> "Router":
        """The network's router, put into it the first time, so that batches of several sizes share one."""
        processors: dict[str, Any] = dict(unet.attn_processors)
        routed = [name for name in processors if ".attn1." in name]
        if not routed:
            raise ModelError("unet: expected self-attention layers named attn1, got none")
        present = processors[routed[0]]
        if isinstance(present, _RoutedSelfAttention):
            return present.router
        router = cls(unet)
        for number, name in enumerate(routed):
            router.layers.append(Layer.of(name, unet))
            processors[name] = _RoutedSelfAttention(router, number)
        unet.set_attn_processor(processors)
        router.feature_layers = [Layer.of(name, unet) for name, _ in _residual_ends(unet)]
        return router

    @contextmanager
    def use(self, sharing: Sharing) -> Iterator[None]:
        """Inside, the network's layers follow it."""
        self.now = sharing
        try:
            yield
        finally:
            self.now = None

    def open_cross(self) -> None:
        """From now on cross-attention follows, too; until the first request that asks, it is as it was."""
        if not self._crosses:
            processors = dict(self.unet.attn_processors)
            for name in [name for name in processors if ".attn2." in name]:
                processors[name] = _EditedCrossAttention(self, Layer.of(name, self.unet))
            self.unet.set_attn_processor(processors)
            self._crosses = True

    def open_features(self) -> None:
        """The same of the decoder's residual branches."""
        if not self._injects:
            for number, (_, convolution) in enumerate(_residual_ends(self.unet)):
                convolution.register_forward_hook(self._inject(number))
            self._injects = True

    def _inject(self, number: int) -> Any:
        def hook(_module: Any, _given: Any, branch: Tensor) -> Tensor:
            if self.now is None or self.now.features is None:
                return branch
            return branch.index_select(0, self.now.features[number])

        return hook


def _residual_ends(unet: Any) -> list[tuple[str, Any]]:
    """The last convolution of each residual branch of the decoder: before the skip is added."""
    return [
        (name, module)
        for name, module in unet.named_modules()
        if name.startswith("up_blocks.") and ".resnets." in name and name.endswith(".conv2")
    ]


class _RoutedSelfAttention:
    """A diffusers attention processor for the plain self-attention of transformer blocks."""

    def __init__(self, router: Router, number: int) -> None:
        self.router = router
        self.number = number

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        # B rows, N positions, H heads, D head size.
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query_BNC, key_BNC = attn.to_q(hidden_states), attn.to_k(source)
        value_BNC = attn.to_v(source)
        if self.router.now is not None:
            route = self.router.now.attention[self.number]
            query_BNC = query_BNC.index_select(0, route)
            key_BNC = key_BNC.index_select(0, route)
        query, key, value = (_heads(t, attn.heads) for t in (query_BNC, key_BNC, value_BNC))
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, scale=attn.scale
        )
        out: Tensor = attn.to_out[0](mixed.transpose(1, 2).flatten(2))
        return out


class _EditedCrossAttention:
    """A diffusers attention processor for the plain cross-attention of transformer blocks."""

    def __init__(self, router: Router, layer: Layer) -> None:
        self.router = router
        self.layer = layer

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        # As above; T tokens.
        query_BNC, key_BTC = attn.to_q(hidden_states), attn.to_k(encoder_hidden_states)
        value_BTC = attn.to_v(encoder_hidden_states)
        sharing = self.router.now

        def attended(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            query, key, value = (_heads(t, attn.heads) for t in (query, key, value))
            return F.scaled_dot_product_attention(
                query, key, value, attn_mask=attention_mask, scale=attn.scale
            )

        if sharing is None or sharing.cross is None:
            mixed = attended(query_BNC, key_BTC, value_BTC)
        else:
            cross = sharing.cross
            of_source = (t.index_select(0, cross.source_row) for t in (query_BNC, key_BTC))
            query_source, key_source = of_source

            def edited(value: Tensor) -> Tensor:
                taken = attended(query_source, key_source, cross.source.to(value) @ value)
                return taken + attended(query_BNC, key_BTC, cross.own.to(value) * value)

            mixed = edited(value_BTC)
            if self.layer.scale in sharing.map_scales:
                # One column more of values, as wide as a head: every kernel takes it.
                words = cross.words.to(value_BTC).expand_as(value_BTC)
                maps = edited(words)[..., 0].mean(1)
                sharing.maps.setdefault(self.layer.scale, []).append(maps)
        out: Tensor = attn.to_out[0](mixed.transpose(1, 2).flatten(2))
        return out


def _heads(x_BNC: Tensor, heads: int) -> Tensor:
    return x_BNC.unflatten(2, (heads, -1)).transpose(1, 2)
