"""Which editors an evaluation is of, as a person chooses among those of its configuration."""

from factory.errors import ConfigError
from schemas.evaluation import EvaluationRecipe
from schemas.recipe import ModelSource


def of_these(recipe: EvaluationRecipe, names: str) -> EvaluationRecipe:
    """A recipe with some of its entrants, by names such as `a,b`, in that order. Raises `ConfigError`."""
    known = [entrant.name for entrant in recipe.entrants]
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in known or wanted.count(name) > 1:
            raise ConfigError(f"--editors: must be of {', '.join(known)}, each once, got {names!r}")
    entrants = tuple(recipe.of(name) for name in wanted)
    return recipe.model_copy(update={"entrants": entrants})


def with_editor(recipe: EvaluationRecipe, source: str) -> EvaluationRecipe:
    """A recipe whose first entrant that is shown pictures has another model. Raises `ConfigError`."""
    for number, entrant in enumerate(recipe.entrants):
        settings, name = entrant.settings, entrant.edits.editor
        if getattr(settings, "CHANNELS", 4) == 8:
            changed = settings.model_copy(update={"model": ModelSource(source=source)})
            edits = entrant.edits.model_copy(update={name: changed})
            entrants = list(recipe.entrants)
            entrants[number] = entrant.model_copy(update={"edits": edits})
            return recipe.model_copy(update={"entrants": tuple(entrants)})
    raise ConfigError("--editor: needs an entrant that is shown pictures, such as ip2p, got none")
