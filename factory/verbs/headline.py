"""What a start of the main job will make, on one line."""

from factory.console.config import Choice
from schemas.config import Config


def headline(choice: Choice[Config]) -> str:
    """Where the configuration is from, the models, the size, how many candidates."""
    recipe = choice.config.recipe
    models = [recipe.text_to_image.source]
    if recipe.autoencoder:
        models.append(f"autoencoder {recipe.autoencoder.source}")
    models += [f"LoRA {lora.source}" for lora in recipe.loras]
    models.append(f"CLIP {recipe.clip.source}")
    return choice.line(
        f"{', '.join(models)}, {recipe.size_px} px, {recipe.steps} steps, "
        f"{recipe.candidates} candidates a triplet"
    )
