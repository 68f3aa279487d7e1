"""What a start of a training, or of what is made for one, will do, on one line."""

from factory.console.config import Choice
from schemas.training.fit import Fit, Law


def fit_headline(choice: Choice[Fit]) -> str:
    """Where the configuration is from, the model, the size, the steps."""
    law = choice.config.law
    lora = f", LoRA of rank {law.lora.rank}" if law.lora else ""
    return choice.line(f"{_model(law)}{lora}, {law.steps} steps of {law.batch} pairs")


def encode_headline(choice: Choice[Fit]) -> str:
    """Where the configuration is from, the model, the size."""
    return choice.line(_model(choice.config.law))


def evaluate_headline(choice: Choice[Fit], editor: str) -> str:
    """Where the configuration is from, the editor, how it edits."""
    sampler = choice.config.watching.sampler
    return choice.line(
        f"{editor}, {sampler.steps} steps, guidance {sampler.text_guidance:g} for the instruction and "
        f"{sampler.image_guidance:g} for the picture"
    )


def _model(law: Law) -> str:
    other = f", autoencoder {law.autoencoder.source}" if law.autoencoder else ""
    return f"{law.model.source}{other}, {law.size_px} px"
