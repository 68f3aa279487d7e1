"""What `captions` may be told, and what it stores: recipe, captions, what became of each instruction."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from schemas.arrow import columns_of
from schemas.canonical import content_hash
from schemas.config import Budget
from schemas.ledger.layout import Layout
from schemas.record import Record
from schemas.running.pool import Pool

TRIPLETS = "triplets_"
"""How the names begin of the files that a run ends with."""
TOKENS = ("prompt_tokens", "completion_tokens")
"""Marks of an outcome that are summed: what it cost."""
KINDS = ("object", "colour", "material", "style", "background", "season", "time", "weather")
"""Of edits, where a recipe names none: what Stable Diffusion with Prompt-to-Prompt can do."""


class Sampling(Record):
    """How a language model is asked; the defaults are the released code's."""

    temperature: float = Field(0.7, ge=0, le=2)
    """Of the draw of each token; 0 takes the likeliest."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Share of the likeliest tokens that are drawn from."""
    frequency_penalty: float = Field(0.1, ge=-2, le=2)
    """Against tokens, the more often they came."""
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    """Against tokens that came at all."""
    max_tokens: int = Field(256, ge=16, le=32_768)
    """Of a reply; a longer one is cut by the server, and asked for again."""


class Limits(Record):
    """What words may be, whatever a model writes."""

    instruction_letters: int = Field(200, ge=1)
    """Most of an instruction."""
    caption_letters: int = Field(600, ge=1)
    """Most of a caption, before and after."""
    tokens: int = Field(75, ge=8)
    """Most that the text encoder reads of a caption, by CLIP's own count without its two marks; what is
    longer is cut there."""


class Judge(Record):
    """A second model that is asked of every instruction whether it does what it says."""

    model: str = Field(min_length=1)
    """By its server's name."""
    least: float = Field(0.5, ge=0, le=1)
    """Smallest verdict, 0..1, that passes."""


class CaptionRecipe(Record):
    """All that decides what is made of a list of captions, given the replies that are stored."""

    LATER: ClassVar[Mapping[str, Any]] = {"few_shot": True}
    model: str = Field(min_length=1)
    """By its server's name; a fine-tuned one as the server calls it."""
    form: Literal["chat", "completion"] = "chat"
    """`chat` shows examples and asks for JSON; `completion` is the paper's: caption, `\\n##\\n`,
    instruction, `\\n%%\\n`, edited caption, `\\nEND`, for models that were fine-tuned to it."""
    structured: bool = True
    """Whether a chat is asked for with a JSON schema; a server that knows none wants false."""
    examples: tuple[tuple[str, str, str, str], ...] = ()
    """Of a chat: kind, caption, instruction, edited caption. None takes the built-in ones."""
    few_shot: bool = True
    """Whether a chat is shown examples; a model that was fine-tuned to the chat wants false."""
    sampling: Sampling = Sampling()
    """How the model is asked."""
    per_caption: int = Field(1, ge=1, le=100)
    """Instructions asked for each caption."""
    attempts: int = Field(4, ge=1, le=20)
    """Replies asked for one instruction before its caption is given up."""
    kinds: dict[str, float] = {}
    """Share of each kind of edit that is asked for; drawn by hash for each caption, not counted. None asks
    for all built-in kinds alike, of a chat; a completion is not told a kind."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Root of the draws of kinds, and of the seeds that servers are sent."""
    limits: Limits = Limits()
    """What words may be."""
    check: bool = True
    """Whether instructions that Prompt-to-Prompt cannot do, or that do not give their caption, are rejected
    by rules."""
    judge: Judge | None = None
    """Asked after the rules; null asks nobody."""
    moderation: str | None = None
    """Name of a moderation model of the same server; null asks none."""
    gate_flagged: bool = True
    """Whether what moderation flags is rejected; else it is recorded alone."""
    near_duplicates: float | None = Field(0.9, gt=0, le=1)
    """Jaccard similarity of words from which of two triplets only the earlier one stays; null keeps all."""
    unit_captions: int = Field(8, ge=1, le=4096)
    """Captions that are asked for and committed at once."""

    @field_validator("kinds")
    @classmethod
    def _shares(cls, kinds: dict[str, float]) -> dict[str, float]:
        if kinds and (min(kinds.values()) < 0 or sum(kinds.values()) <= 0):
            raise ValueError("shares must be 0 or more, and some above 0")
        return kinds


class Server(Record):
    """Where a model is asked."""

    base_url: str = Field("https://api.openai.com/v1", pattern=r"^https?://[^@\s]+$")
    """Of an OpenAI-compatible API."""
    key_variable: str = "OPENAI_API_KEY"
    """Name of the environment variable with its key; never the key."""
    in_flight: int = Field(16, ge=1, le=1024)
    """Requests at once, of one worker."""
    timeout_s: float = Field(120.0, gt=0)
    """A request that is silent for longer is sent again."""
    patience_s: float = Field(900.0, ge=0)
    """How long a request is sent again while the server is busy or away; then its unit is left."""


class CaptionCompute(Pool):
    """Where requests are sent from."""

    server: Server = Server()
    """Of the model that writes, and of moderation."""
    judge: Server | None = None
    """Of the judge; null is the same server."""
    calls_per_worker: int = Field(4, ge=1, le=256)
    """Units in hand at once."""

    @property
    def calls(self) -> int:
        return self.calls_per_worker

    @property
    def of_judge(self) -> Server:
        """Where the judge is asked."""
        return self.judge or self.server


class Prices(Record):
    """What a million tokens cost, in whatever money."""

    price_in: float
    """Of requests."""
    price_out: float
    """Of replies."""

    def money(self, marks: Mapping[str, int]) -> float:
        """What so many tokens cost."""
        asked, given = (marks.get(name, 0) for name in TOKENS)
        return (asked * self.price_in + given * self.price_out) / 1e6


class CaptionBudget(Budget):
    """When to stop before the plan is done."""

    max_tokens: int | None = Field(None, ge=1)
    """Stop once the run has used so many tokens, of requests and replies."""
    max_money: float | None = Field(None, gt=0)
    """Stop once they cost so much."""
    price_in: float | None = Field(None, ge=0)
    """Price of a million tokens of requests; null where it is not known."""
    price_out: float | None = Field(None, ge=0)
    """The same of replies."""

    @model_validator(mode="after")
    def _is_priced(self) -> "CaptionBudget":
        if self.max_money is not None and self.money({}) is None:
            raise ValueError("max_money must come with price_in and price_out, got none")
        return self

    def money(self, marks: Mapping[str, int]) -> float | None:
        """What so many tokens cost; None where prices are not known."""
        return self.prices.money(marks) if self.prices else None

    @property
    def prices(self) -> Prices | None:
        """None where not both are known."""
        if self.price_in is None or self.price_out is None:
            return None
        return Prices(price_in=self.price_in, price_out=self.price_out)

    @property
    def watches_marks(self) -> bool:
        return self.max_tokens is not None or self.max_money is not None

    def spent(self, marks: Mapping[str, int]) -> str | None:
        tokens = sum(marks.get(name, 0) for name in TOKENS)
        if self.max_tokens is not None and tokens >= self.max_tokens:
            return f"budget.max_tokens: {self.max_tokens} reached: {tokens}"
        money = self.money(marks)
        if self.max_money is not None and money is not None and money >= self.max_money:
            return f"budget.max_money: {self.max_money:g} reached: {money:.2f}"
        return None


class Captions(Record):
    """A whole configuration of `captions`."""

    recipe: CaptionRecipe
    """What is made."""
    compute: CaptionCompute = CaptionCompute(gpus_per_worker=0)
    """Where and how wide."""
    budget: CaptionBudget = CaptionBudget()
    """When to stop."""


class CaptionItem(Record):
    """A caption: what a plan lists."""

    BESIDE: ClassVar[str] = "url"
    caption: str
    """Unchanged as read."""
    url: str | None = None
    """Where its picture lies; null when not known. Not part of the identity."""

    @property
    def item_id(self) -> str:
        """First 16 hex digits of sha256 over the text."""
        return content_hash([self.caption])[:16]

    @property
    def words(self) -> str:
        """For a message."""
        return repr(self.caption if len(self.caption) <= 60 else self.caption[:57] + "...")


class Verdict(StrEnum):
    """What may become of an instruction that was asked for."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FAILED = "failed"


class InstructionRow(Record):
    """What became of one instruction that was asked for."""

    caption_id: str
    """Of the caption."""
    index: int
    """Which of the caption's instructions, from 0."""
    original_prompt: str
    """The caption."""
    edit_prompt: str | None
    """The instruction; null where no reply could be used."""
    edited_prompt: str | None
    """The caption after the edit; the same."""
    kind: str | None
    """What was asked for; null where none was."""
    url: str | None
    """As listed."""
    verdict: Verdict
    reason: str | None
    """Why it is rejected: words joined by commas; of a failed one, a sentence."""
    attempts: int
    """Replies that were asked for."""
    replies: str
    """Hashes of the requests whose stored replies these are, joined by commas."""
    answered_by: str | None
    """The model's name in the last reply."""
    judged: float | None
    """The judge's verdict, 0..1; null where none was asked."""
    judged_by: str | None
    """Its model and the version of its question."""
    flagged: bool
    """Whether moderation flagged it."""
    prompt_tokens: int
    """Of all its requests, as the server counts them."""
    completion_tokens: int
    """Of all its replies."""
    estimated_tokens: int
    """How many of both are estimated by the texts' length, since the server did not count them."""


CAPTIONS = Layout(
    stage="captions",
    version=3,
    items=columns_of(CaptionItem),
    outcomes=columns_of(InstructionRow),
    counts=tuple(Verdict),
    marks=("flagged", *TOKENS, "estimated_tokens"),
    finishes=True,
    item="caption",
    outcome="instruction",
    kept="triplet",
)
"""How a run of captions is stored."""


class CaptionEnvironment(Record):
    """What replies came from; recorded, never part of a recipe."""

    wheels: dict[str, str]
    """Version of each package that asks."""
    server: str
    """Where it was asked, without what may be secret."""


NOWHERE = CaptionEnvironment(wheels={}, server="none")
"""Of what was never asked."""


class Tuning(Record):
    """A fine-tuning as a server is asked for it."""

    model: str
    """The one that is tuned, by its server's name."""
    suffix: str | None = None
    """A word in the tuned model's name."""
    epochs: int | None = None
    """Passes over the lines; null is the server's own."""


class FineTuning(Record):
    """finetuning.json: how far the fine-tuning of a server's model is."""

    version: Literal[1] = 1
    model: str
    """The one that is tuned, by its server's name."""
    lines: str
    """sha256 of the file of lines."""
    file_id: str | None = None
    """Of the lines at the server; null before they are there."""
    job_id: str | None = None
    """Of the tuning; null before it was begun."""
    tuned: str | None = None
    """The tuned model, as `captions --model` takes it; null before it is there."""
