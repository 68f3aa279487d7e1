"""Editors at work: opened pictures and what is to be done to them in, edited pictures out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from threading import Lock

from factory.console.say import say
from factory.edits.edit import Edited, Editor
from factory.edits.editors.diffusers_pipeline import AskedPictures, PipelineEditor
from factory.edits.editors.engine_editor import EngineEditor
from factory.edits.editors.pipeline_class import package_of
from factory.engine.device import device_name, torch_device
from factory.pictures import Picture
from schemas.editors import DiffusersPipeline
from schemas.edits import EditCompute, EditEnvironment, EditItem, EditRecipe

_WHEELS = ("torch", "diffusers", "transformers", "numpy", "pillow")


class Studio:
    """The editors of a recipe; each is loaded when it is first asked for. Threads may share it.

    The recipe's models must be pinned. `first` gives pictures with which a pipeline's calls for several
    are compared with calls for one. Raises `ModelError` where one cannot be loaded.
    """

    def __init__(
        self,
        recipe: EditRecipe,
        compute: EditCompute,
        first: Callable[[], AskedPictures] = lambda: (),
    ) -> None:
        self.recipe = recipe
        self.compute = compute
        self.first = first
        self._editors: dict[str, Editor] = {}
        self._loading = Lock()

    def editor(self, name: str) -> Editor:
        """One that is loaded."""
        with self._loading:
            if name not in self._editors:
                self._editors[name] = self._load(name)
            return self._editors[name]

    def _load(self, name: str) -> Editor:
        settings = self.recipe.of(name)
        assert settings is not None
        if isinstance(settings, DiffusersPipeline):
            made = PipelineEditor(settings, self.recipe, self.compute, self.first)
            if made.batching.words:
                say(f"editor {name}: {made.batching.words}")
            return made
        return EngineEditor(settings, self.recipe, self.compute)

    def edit(self, asked: Sequence[tuple[EditItem, Picture]]) -> Iterator[tuple[int, Edited]]:
        """The outcome of each picture (height, width, 3), by its place, as they are ready.

        An edit depends on its own picture and request only. Raises whatever made an engine itself fail.
        """
        for name in sorted({item.editor for item, _ in asked}):
            places = [place for place, (item, _) in enumerate(asked) if item.editor == name]
            for number, edited in self.editor(name).edit([asked[place] for place in places]):
                yield places[number], edited

    def close(self) -> None:
        """Let go of what the editors hold; nobody may be at work."""
        while self._editors:
            _, editor = self._editors.popitem()
            if isinstance(editor, EngineEditor):
                editor.close()

    @property
    def rows_run(self) -> int:
        """UNet rows that carried an edit so far; a pipeline of diffusers tells none."""
        return sum(getattr(editor, "rows_run", 0) for editor in list(self._editors.values()))

    @property
    def idle_s(self) -> float | None:
        """Seconds in which the one editor waited; of several nobody knows when all did."""
        editors = list(self._editors.values())
        return getattr(editors[0], "idle_s", None) if len(editors) == 1 else None

    def environment(self) -> EditEnvironment:
        """This device, these wheels, these shapes."""
        wheels = {name: version(name) for name in _WHEELS}
        batching, pipeline = None, self.recipe.diffusers
        if pipeline is not None and (package := package_of(pipeline.pipeline)):
            with suppress(PackageNotFoundError):
                wheels[package] = version(package)
        if pipeline is not None and self.compute.pipeline_images > 1:
            # Whether or not this unit asks for it: all of a run say the same.
            editor = self.editor(pipeline.NAME)
            assert isinstance(editor, PipelineEditor)
            batching = editor.batching.words
        return EditEnvironment(
            device=device_name(torch_device(self.compute.device)),
            wheels=wheels,
            batch_images=self.compute.batch_images,
            decode_images=self.compute.decode_images,
            threads=self.compute.threads,
            batching=batching,
        )
