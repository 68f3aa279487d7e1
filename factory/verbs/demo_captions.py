"""The demo from captions on: the embedded language model writes edits of captions, which are checked."""

from pathlib import Path

from factory.captions.captions import captions_stage
from factory.captions.listing import CaptionList
from factory.captions.local_server import served
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
    captions = [CaptionItem(caption=text) for text in held_out_captions()[:count]]
    listed = CaptionList(captions)
    weights = content_hash([(LANGUAGE / "card.json").read_text()])
    name = content_hash([weights, [one.item_id for one in captions]])[:8]
    place = str(out / f"captions-{name}")
    say(f"{len(captions)} captions; the embedded language model is served on this machine")
    with served(LANGUAGE, MINIATURE) as url:
        settings = [f"compute.server.base_url={url}", "compute.where=here"]
        config = read_config(Captions, CAPTION_PRESETS, MINIATURE, None, settings)
        run, plan = prepare(config, place, listed)
        if newest_manifest(run) is None:
            stage = captions_stage()
            result = run_job(stage, run, plan, config, run_here(stage))
            if result.sealed is None:
                raise StorageError(f"{run.uri}: {result.message}")
    triplets = read_triplets(place)
    print_table(
        ("caption", "instruction", "caption after it"),
        [(t.original_prompt, t.edit_prompt, t.edited_prompt) for t in triplets.triplets],
    )
    return triplets
