"""Prompt-to-Prompt on a picture: inverted under its caption, made again under another that borrows its
maps.

Needs what the picture shows and what it should show, in sentences as alike as they can be: words in the
same places are taken for each other. `text_guidance` leads towards the second. Where it fails
(docs/editors/p2p.png): inversion gives the picture's own row exactly here, but the edit drifts from it
with guidance, more the further the captions are apart; what moves or changes shape fights `self_share`.
Licence: that of the model given.

Source: Hertz et al. 2022 (arXiv:2208.01626), its controls as google/prompt-to-prompt codes them, in which
the row with a caption alone is controlled. In place of null-text inversion, which trains an embedding for
each picture, the picture's own row follows its inversion's latents, as Plug-and-Play's does.
"""

from torch import Tensor

from factory.edits.editors.inversion import inversion, way_back
from factory.engine.attention.borrowed import Borrowed
from factory.engine.attention.prompt_to_prompt import word_maps
from factory.engine.networks import Networks
from factory.engine.procedure import Procedure
from factory.engine.request import Guided, Request, Row, Start
from schemas.editors import P2p
from schemas.edits import EditItem

SOURCE, EDITED = 0, 2
"""Rows: the picture's own, the edit's without its caption and with it."""


def edit_of(
    networks: Networks, item: EditItem, settings: P2p, picture: Tensor, seed: int
) -> Procedure:
    """As every editor's; `picture` is the latent (channel, height, width), of unit variance."""
    source, target = item.source_caption or "", item.target_caption or ""
    scale = settings.text_guidance if item.text_guidance is None else item.text_guidance
    follows = way_back((yield inversion(picture, source, seed, settings)))
    cross, blend = word_maps(settings.maps, SOURCE, EDITED, source, target)
    yield Request(
        latents=(Guided((Row(source),)), Guided((Row(None), Row(target)), (scale,))),
        seed=seed,
        steps=settings.steps,
        solver="ddim",
        start=Start(follows[0]),
        follows=follows,
        control=Borrowed((SOURCE, 1, SOURCE), settings.self_share, least_scale=settings.self_scale),
        cross=cross,
        blend=blend,
        shown=(1,),
        size=(picture.shape[1], picture.shape[2]),
    )
