"""`captions`, a stage: of each caption, instructions that a language model is asked for, checked."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from factory.captions.asked import Asked, BadRequest
from factory.captions.checks.acceptance import faults
from factory.captions.checks.instruction_rules import broken_rules
from factory.captions.checks.judging import JUDGE_VERSION, judge_request, read_verdict
from factory.captions.prompts import (
    Suggestion,
    Unusable,
    examples_of,
    kind_of,
    read_reply,
    request,
)
from factory.captions.replies import Replies, Reply
from factory.captions.triplets import triplets
from factory.captions.usage import Usage, usage_of
from factory.ledger.plan import Row
from factory.ledger.run import Run, must_stand
from factory.ledger.units.outcomes import Outcomes
from factory.lists.read import is_unicode
from factory.work.stage import Sealing, Stage
from schemas.arrow import rows_to_json
from schemas.captions import (
    CAPTIONS,
    NOWHERE,
    CaptionCompute,
    CaptionEnvironment,
    CaptionItem,
    CaptionRecipe,
    InstructionRow,
    Verdict,
)
from schemas.ledger.tally import count

if TYPE_CHECKING:
    from factory.captions.server import LanguageServer

FLAGGED, JUDGED, UNJUDGED = "flagged", "judged_wrong", "not_judged"


def captions_stage() -> Stage:
    """The stage."""
    return Stage(
        layout=CAPTIONS,
        load=CaptionMaker,
        fail=fail_captions,
        sealing=SEALING,
        loading="",
        advice="`status` counts why of each",
    )


@dataclass
class _Hand:
    """One instruction in hand."""

    item: CaptionItem
    index: int
    kind: str | None
    words: Suggestion | None = None
    reason: str | None = None
    verdict: Verdict = Verdict.REJECTED
    replies: list[Reply] = field(default_factory=list)
    usage: Usage = Usage()
    attempts: int = 0
    judged: float | None = None
    flagged: bool = False


class CaptionMaker:
    """Asks for a unit's instructions, several at once; several threads may make units."""

    def __init__(self, run: Run, compute: CaptionCompute) -> None:
        from factory.captions.server import LanguageServer

        self.recipe: CaptionRecipe = run.recipe
        self.replies = Replies(run.store)
        self.server = LanguageServer(compute.server)
        self.judge = LanguageServer(compute.of_judge) if self.recipe.judge else None
        self.shown = shown_by(self.recipe)
        self._environment = CaptionEnvironment(
            wheels={"openai": version("openai")},
            server=compute.server.base_url,
        )
        self._threads = ThreadPoolExecutor(compute.server.in_flight, "editmill-asker")

    def close(self) -> None:
        self._threads.shutdown(wait=True)
        self.server.close()
        if self.judge:
            self.judge.close()

    def make(self, unit: int, items: Sequence[Row]) -> Outcomes:
        """What became of the instructions of these captions; one that no reply gives is rejected.

        Raises `StorageRefused` where the run is gone: its replies would be paid for, and never sealed.
        """
        must_stand(self.replies.store)
        hands = [
            _Hand(item, index, kind_of(self.recipe, item.item_id, index))
            for item in map(CaptionItem.model_validate, items)
            for index in range(self.recipe.per_caption)
        ]
        list(self._threads.map(self._ask, hands))
        rows = [_row(self.recipe, hand) for hand in hands]
        return Outcomes(rows, count(CAPTIONS, rows_to_json(rows)), self._environment)

    def _ask(self, hand: _Hand) -> None:
        """Ask until a reply gives words that may be a triplet; then have them checked."""
        try:
            for attempt in range(self.recipe.attempts):
                hand.attempts = attempt + 1
                asked = request(
                    self.recipe, hand.item.item_id, hand.item.caption, hand.index, attempt
                )
                if self._reads(hand, self._reply(hand, self.server, asked, attempt)):
                    break
            else:
                return
            self._moderate(hand)
            self._judge(hand)
        except BadRequest as error:
            hand.verdict, hand.reason = Verdict.FAILED, str(error)
            return
        hand.verdict = Verdict.REJECTED if hand.reason else Verdict.ACCEPTED

    def _reply(self, hand: _Hand, server: "LanguageServer", asked: Asked, number: int) -> Reply:
        reply = self.replies.ask(server, asked, number)
        hand.replies.append(reply)
        hand.usage += usage_of(asked, reply.body)
        return reply

    def _reads(self, hand: _Hand, reply: Reply) -> bool:
        """Whether a reply gives words that may be a triplet and break no rule; why not is kept."""
        hand.words, hand.reason = read_words(self.recipe, self.shown, hand.item, reply.body)
        return hand.reason is None

    def _moderate(self, hand: _Hand) -> None:
        if self.recipe.moderation is None or hand.words is None:
            return
        texts = [hand.words.edit_prompt, hand.words.edited_prompt]
        asked = Asked("moderation", {"model": self.recipe.moderation, "input": texts})
        for number in range(self.recipe.attempts):
            results = self._reply(hand, self.server, asked, number).body.get("results")
            if isinstance(results, list) and len(results) == len(texts):
                break
        else:
            raise BadRequest("moderation: must give a result for each of two texts")
        hand.flagged = any(bool(isinstance(one, dict) and one.get("flagged")) for one in results)
        if hand.flagged and self.recipe.gate_flagged:
            hand.reason = FLAGGED

    def _judge(self, hand: _Hand) -> None:
        judge = self.recipe.judge
        if judge is None or self.judge is None or hand.words is None or hand.reason:
            return
        asked = judge_request(judge, hand.item.caption, hand.words)
        for number in range(self.recipe.attempts):
            hand.judged = read_verdict(self._reply(hand, self.judge, asked, number).body)
            if hand.judged is not None:
                break
        if hand.judged is None:
            hand.reason = UNJUDGED
        elif hand.judged < judge.least:
            hand.reason = JUDGED


def shown_by(recipe: CaptionRecipe) -> set[Suggestion]:
    """The examples that a model was shown, none of which it may give back."""
    return {Suggestion(edit, after) for _, _, edit, after in examples_of(recipe)}


def read_words(
    recipe: CaptionRecipe, shown: set[Suggestion], item: CaptionItem, body: Mapping[str, Any]
) -> tuple[Suggestion | None, str | None]:
    """Words of a reply, and why they may be no triplet: None where nothing speaks against them."""
    try:
        words = read_reply(recipe, item.item_id, body)
    except Unusable as error:
        return None, str(error)
    found = faults(item.caption, words, recipe.limits, shown)
    if recipe.check and not found:
        found = broken_rules(item.caption, words)
    return words, ",".join(found) or None


def _row(recipe: CaptionRecipe, hand: _Hand) -> InstructionRow:
    last = hand.replies[-1].body.get("model") if hand.replies else None
    return InstructionRow(
        caption_id=hand.item.item_id,
        index=hand.index,
        original_prompt=hand.item.caption,
        edit_prompt=hand.words.edit_prompt if hand.words else None,
        edited_prompt=hand.words.edited_prompt if hand.words else None,
        kind=hand.kind,
        url=hand.item.url,
        verdict=hand.verdict,
        reason=hand.reason,
        attempts=hand.attempts,
        replies=",".join(reply.sha256 for reply in hand.replies),
        answered_by=last if isinstance(last, str) and is_unicode(last) else None,
        judged=hand.judged,
        judged_by=f"{recipe.judge.model}, {JUDGE_VERSION}" if recipe.judge else None,
        flagged=hand.flagged,
        prompt_tokens=hand.usage.asked,
        completion_tokens=hand.usage.given,
        estimated_tokens=hand.usage.estimated,
    )


def fail_captions(run: Run, items: Sequence[Row], reason: str) -> Outcomes:
    """All instructions of these captions as failed."""
    recipe: CaptionRecipe = run.recipe
    rows = [
        _row(
            recipe,
            _Hand(item, index, kind_of(recipe, item.item_id, index), None, reason, Verdict.FAILED),
        )
        for item in map(CaptionItem.model_validate, items)
        for index in range(recipe.per_caption)
    ]
    return Outcomes(rows, count(CAPTIONS, rows_to_json(rows)), NOWHERE)


SEALING = Sealing(finish=triplets)
