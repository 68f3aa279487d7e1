"""The demo from captions on: the embedded language model writes edits of captions, which are checked."""

import hashlib
import json
from pathlib import Path

from factory.captions.captions import captions_stage
from factory.captions.listing import CaptionList
from factory.captions.local_server import check_serving, served
from factory.captions.prepare import prepare
from factory.console.config import CAPTION_PRESETS, MINIATURE, read_config
from factory.console.say import print_table, say
from factory.errors import StorageError
from factory.ledger.manifest import newest_manifest
from factory.miniature.world import held_out_captions
from factory.models.find import LANGUAGE
from factory.pairs.triplets import TripletList, read_triplets
from factory.work.job import run_job
from factory.work.plain_loop import run_here
from schemas.canonical import content_hash
from schemas.captions import CaptionItem, Captions


def written_triplets(out: Path, count: int) -> TripletList:
    """Triplets of so many captions that no model was trained on; prints them.

    A second start takes those that are there. Raises `ConfigError` where nothing can be served here.
    """
    check_serving()
    captions = [CaptionItem(caption=text) for text in held_out_captions()[:count]]
    listed = CaptionList(captions)
    config = read_config(Captions, CAPTION_PRESETS, MINIATURE, None, ["compute.where=here"])
    weights = hashlib.sha256((LANGUAGE / "model.safetensors").read_bytes()).hexdigest()
    ids = [one.item_id for one in captions]
    # A folder per model, recipe and list, so that new weights never meet an old run.
    name = content_hash([weights, config.recipe.identity(), ids])[:8]
    place = str(out / f"captions-{name}")
    run, plan = prepare(config, place, listed)
    if newest_manifest(run) is None:
        say(f"{len(captions)} captions; the embedded language model is served on this machine")
        with served(LANGUAGE, MINIATURE) as url:
            stage = captions_stage()
            server = config.compute.server.model_copy(update={"base_url": url})
            compute = config.compute.model_copy(update={"server": server})
            asking = config.model_copy(update={"compute": compute})
            result = run_job(stage, run, plan, asking, run_here(stage))
        if result.sealed is None:
            raise StorageError(f"{run.uri}: {result.message}")
    say(f"embedded language model: {json.loads((LANGUAGE / 'card.json').read_text())['state']}")
    triplets = read_triplets(place)
    print_table(
        ("caption", "instruction", "caption after it"),
        [(t.original_prompt, t.edit_prompt, t.edited_prompt) for t in triplets.triplets],
    )
    return triplets
