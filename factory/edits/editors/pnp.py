"""Plug-and-Play: the picture's own features and self-attention, found on the way back from its inversion.

Needs the caption as the picture should be. `text_guidance` leads towards it and away from
`negative_prompt`. Where it fails (docs/editors/pnp.png): it keeps the layout, so what should move, grow
or vanish stays where it was; textureless pictures lose their shapes. Licence: that of the model given.

Source: Tumanyan et al. 2023 (arXiv:2211.12572), section 4, and MichalGeyer/pnp-diffusers: one row of the
picture under the empty prompt lends to both of the edit's. Nothing is stored between: its latents are kept
in memory, its features are made beside the edit. The negative prompt's share is the first implementation's
(MichalGeyer/plug-and-play), there called alpha.
"""

import math

from torch import Tensor

from factory.edits.editors.inversion import inversion, way_back
from factory.engine.attention.borrowed import Borrowed
from factory.engine.networks import Networks
from factory.engine.procedure import Procedure
from factory.engine.request import Guided, Request, Row, Start
from schemas.editors import Pnp
from schemas.edits import EditItem


def edit_of(
    networks: Networks, item: EditItem, settings: Pnp, picture: Tensor, seed: int
) -> Procedure:
    """As every editor's; `picture` is the latent (channel, height, width), of unit variance."""
    scale = settings.text_guidance if item.text_guidance is None else item.text_guidance
    follows = way_back((yield inversion(picture, "", seed, settings)))
    lenders = (0,) * settings.rows
    yield Request(
        latents=(Guided((Row(""),)), guided(settings, item.target_caption or "", scale)),
        seed=seed,
        steps=settings.steps,
        solver="ddim",
        start=Start(follows[0]),
        follows=follows,
        control=Borrowed(lenders, settings.attention_share, settings.attention_layers),
        features=Borrowed(lenders, settings.feature_share, settings.feature_layers),
        shown=(1,),
        size=(picture.shape[1], picture.shape[2]),
    )


def guided(settings: Pnp, caption: str, scale: float) -> Guided:
    """e = n + s (e_caption - n), where n is that of the negative prompt, or, at step i,
    n = a_i e_empty + (1 - a_i) e_negative.
    """
    away, towards = Row(settings.negative_prompt), Row(caption)
    if settings.negative_alpha is None:
        return Guided((away, towards), (scale,))
    # As a ladder: e_empty + x (e_negative - e_empty) + s (e_caption - e_negative).
    shares = alphas(settings.negative_alpha, settings.alpha_schedule, settings.steps)
    return Guided(
        (Row(None), away, towards), (tuple(1 - (1 - scale) * share for share in shares), scale)
    )


def alphas(alpha: float, schedule: str, steps: int) -> list[float]:
    """The share a_i of the empty prompt at each step."""
    way = [step / max(steps - 1, 1) for step in range(steps)]
    match schedule:
        case "linear":
            return [alpha * (1 - along) for along in way]
        case "exp":
            return [alpha * math.exp(-6 * along) for along in way]
        case _:
            return [alpha] * steps
