"""SDEdit: the picture with so much noise that only its rough shapes are left, sampled anew from there.

Needs the caption as it should be. `text_guidance` is classifier-free guidance towards it, `strength`
the share of the way from noise that is made again: little changes at 0.3, little stays at 0.9. Where it
fails (docs/editors/sdedit.png): whatever must change and whatever must stay are told apart by size
alone. Licence: that of the model given.

Source: Meng et al. 2022 (arXiv:2108.01073), algorithm 1 without its mask, in a latent space as Stable
Diffusion's `img2img.py` does it; the first step is diffusers' `get_timesteps` for the same strength.
"""

from torch import Tensor

from factory.engine.networks import Networks
from factory.engine.procedure import Procedure
from factory.engine.request import Guided, Request, Row, Start
from schemas.editors import Sdedit
from schemas.edits import EditItem


def edit_of(
    networks: Networks, item: EditItem, settings: Sdedit, picture: Tensor, seed: int
) -> Procedure:
    """As every editor's; `picture` is the latent (channel, height, width), of unit variance."""
    scale = settings.text_guidance if item.text_guidance is None else item.text_guidance
    rows = (Row(None), Row(item.target_caption))
    yield Request(
        latents=(Guided(rows, (scale,)),),
        seed=seed,
        steps=settings.steps,
        solver=settings.solver,
        start=Start(picture, settings.first_step(item.strength), noised=True),
        noise_name="edit ",
        size=(picture.shape[1], picture.shape[2]),
    )
