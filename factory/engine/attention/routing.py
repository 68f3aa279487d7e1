"""The engine's one primitive: for self-attention, row j uses the queries and keys of row r(j).

An index on the batch axis needs no attention maps, works with fused attention at any batch size
and keeps shapes static. Copying pre-softmax logits from row r(j), as InstructPix2Pix does, gives
the same result, because the logits depend on queries and keys alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from factory.errors import ModelError


class Router:
    """Of one UNet: every self-attention layer follows the route that its batch lays down for a forward."""

    def __init__(self) -> None:
        self.route: Tensor | None = None

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
        router = cls()
        for name in routed:
            processors[name] = _RoutedSelfAttention(router)
        unet.set_attn_processor(processors)
        return router

    @contextmanager
    def use(self, route: Tensor) -> Iterator[None]:
        """Inside, self-attention follows `route`, int64 (rows,): the row whose q and k each uses. A row
        that shares with nobody names itself: a graph that was captured or compiled keeps its shapes.
        """
        self.route = route
        try:
            yield
        finally:
            self.route = None


class _RoutedSelfAttention:
    """A diffusers attention processor for the plain self-attention of transformer blocks."""

    def __init__(self, router: Router) -> None:
        self.router = router

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
        if self.router.route is not None:
            query_BNC = query_BNC.index_select(0, self.router.route)
            key_BNC = key_BNC.index_select(0, self.router.route)
        query, key, value = (_heads(t, attn.heads) for t in (query_BNC, key_BNC, value_BNC))
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, scale=attn.scale
        )
        out: Tensor = attn.to_out[0](mixed.transpose(1, 2).flatten(2))
        return out


def _heads(x_BNC: Tensor, heads: int) -> Tensor:
    return x_BNC.unflatten(2, (heads, -1)).transpose(1, 2)
