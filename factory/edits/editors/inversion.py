"""DDIM inversion of a picture, and the way back along it."""

from hashlib import blake2b

from torch import Tensor

from factory.engine.request import Finished, Guided, Request, Row, Start
from schemas.editors import P2p, Pnp


def inversion(latent: Tensor, caption: str, seed: int, settings: P2p | Pnp) -> Request:
    """From a picture's latent (channel, height, width), of unit variance, to the noise that gives it again,
    told `caption`, without guidance. `seed` draws nothing: DDIM has no noise. Edits of one picture at
    several settings share it.
    """
    content = f"{latent.shape} {caption} ".encode() + latent.contiguous().numpy().tobytes()
    return Request(
        latents=(Guided((Row(caption),)),),
        seed=seed,
        steps=settings.inversion_steps,
        solver="ddim_inversion",
        start=Start(latent),
        returns="latents",
        levels=settings.levels,
        size=(latent.shape[1], latent.shape[2]),
        twin=f"inversion {blake2b(content, digest_size=16).hexdigest()}",
    )


def way_back(inverted: Finished) -> Tensor:
    """What the edit's first latent follows: (steps + 1, channel, height, width), the noisiest first."""
    assert inverted.latents is not None
    return inverted.latents[:, 0].flip(0)
