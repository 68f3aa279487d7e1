"""What a start of a training, or of what is made for one, will do, on one line."""

from factory.config import Choice
from schemas.fit import Fit, Sampler


def fit_headline(choice: Choice[Fit]) -> str:
    """Where the configuration is from, the model, the size, the steps."""
    law = choice.config.law
    lora = f", LoRA of rank {law.lora.rank}" if law.lora else ""
    return f"{_model(choice)}{lora}, {law.steps} steps of {law.batch} pairs"


def encode_headline(choice: Choice[Fit]) -> str:
    """Where the configuration is from, the model, the size."""
    return _model(choice)


def evaluate_headline(choice: Choice[Fit], editor: str) -> str:
    """Where the configuration is from, the editor, how it edits."""
    sampler: Sampler = choice.config.watching.sampler
    return (
        f"{choice.origin}: {editor}, {sampler.steps} steps, guidance {sampler.text_guidance:g} for the "
        f"instruction and {sampler.image_guidance:g} for the picture"
    )


def _model(choice: Choice[Fit]) -> str:
    law = choice.config.law
    other = f", autoencoder {law.autoencoder.source}" if law.autoencoder else ""
    return f"{choice.origin}: {law.model.source}{other}, {law.size_px} px"
