"""The frozen networks at work on a unit: pictures and instructions in, latents and contexts out."""

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from factory.dataset.decoders import Decoders
from factory.dataset.index import instruction_name
from factory.dataset.pairs import EditPair, Pairs
from factory.engine.checkpoint.load import load_text_to_image
from factory.engine.device import device_name, pick_device
from factory.engine.text.encoder import Words
from factory.models.find import placed_parts
from factory.untrusted_image.decoder import ImageRefused
from schemas.training.fit import Law, Where
from schemas.training.latents import EncodingEnvironment, Slice
from trainer.feeding.pictures import Shape, SizedPair, sized_pair
from trainer.latents.slices import NOTHING
from trainer.learning.conditions import Conditions
from trainer.learning.objective import NUMBERS


class Encoder:
    """The frozen networks, and the decoders of what they read."""

    def __init__(self, conditions: Conditions, law: Law, pictures: int, threads: int = 1) -> None:
        """`pictures` are in every pass of the autoencoder, since results change with its shape."""
        self.conditions = conditions
        self.law = law
        self.pictures = pictures
        self.threads = threads
        self._decoders = Decoders()

    @classmethod
    def of(cls, law: Law, compute: Where) -> "Encoder":
        """The law's networks on the compute's device. Raises `ModelError`."""
        torch.set_num_threads(compute.threads)
        device = pick_device(compute.device)
        parts = load_text_to_image(*placed_parts(law.model, law.autoencoder), NUMBERS[law.dtype])
        parts.text.encoder.to(device)
        conditions = Conditions(parts.autoencoder.to(device), parts.text)
        # As many as a training without latents passes at once.
        return cls(conditions, law, compute.micro_batch, compute.loaders)

    def close(self) -> None:
        self._decoders.close()

    @property
    def environment(self) -> EncodingEnvironment:
        weights = next(self.conditions.autoencoder.network.parameters())
        return EncodingEnvironment(
            device=device_name(weights.device),
            torch=torch.__version__,
            threads=torch.get_num_threads(),
            pictures=self.pictures,
        )

    def encode(
        self, pairs: Pairs, part: Slice, new: Sequence[int], *, leads: bool
    ) -> tuple[dict[str, Tensor], list[str | None]]:
        """A slice's tensors, and for each row why its pictures could not be read, or None.

        `pairs` are those of its file, `new` its rows that are the dataset's first with their instruction,
        which `leads` has the empty one besides.

        For each shape in pixels, `latents.HxW` (row, mirrored, 3, 4, h, w): mean and log-variance of
        the edited, mean of the original; and `rows.HxW` (row,), their places in the slice. `said`
        (row, 16) is each row's instruction, `contexts` (instruction, token, width) those of
        `instructions` (instruction, 16), and `pooled` (instruction, width) where the model has such.
        Raises `InputError` where a value is missing.
        """
        wanted = set(new)
        passes: dict[Shape, _Passes] = {}
        reasons: list[str | None] = []
        names: list[bytes] = []
        contexts: dict[bytes, Words] = {}
        if leads:
            contexts[instruction_name("")] = self.conditions.text.words("")
            if self.conditions.text.zeros:
                contexts[NOTHING] = self.conditions.text.nothing()
        with closing(self._read(pairs, part)) as rows:
            for row, (pair, found) in enumerate(rows):
                names.append(instruction_name(pair.instruction))
                if row in wanted:
                    contexts[names[-1]] = self.conditions.text.words(pair.instruction)
                try:
                    shape, original, edited = found.result()
                except ImageRefused as error:
                    reasons.append(str(error))
                    continue
                reasons.append(None)
                if shape not in passes:
                    passes[shape] = _Passes(self.conditions, self.pictures)
                passes[shape].add(row, original, edited)
        tensors = {"said": _bytes(names), "instructions": _bytes(contexts)}
        if contexts:
            tensors["contexts"] = torch.stack([words.tokens.cpu() for words in contexts.values()])
        pooled = [words.pooled.cpu() for words in contexts.values() if words.pooled is not None]
        if pooled:
            tensors["pooled"] = torch.stack(pooled)
        for (height, width), done in passes.items():
            tensors[f"latents.{height}x{width}"] = done.finish()
            tensors[f"rows.{height}x{width}"] = torch.tensor(done.rows)
        return tensors, reasons

    def _read(
        self, pairs: Pairs, part: Slice
    ) -> Generator[tuple[EditPair, Future[SizedPair]], None, None]:
        """Rows in order, their pictures decoded ahead by threads."""
        with ThreadPoolExecutor(self.threads) as threads:
            ahead: deque[tuple[EditPair, Future[SizedPair]]] = deque()
            law, factor = self.law, self.conditions.autoencoder.factor
            for row in range(part.first, part.first + part.rows):
                pair = pairs.pair(row)
                ahead.append((pair, threads.submit(sized_pair, self._decoders, pair, law, factor)))
                if len(ahead) > self.pictures:
                    yield ahead.popleft()
            yield from ahead


class _Passes:
    """Pictures of one shape on their way through the autoencoder, always equally many at once."""

    def __init__(self, conditions: Conditions, pictures: int) -> None:
        self.conditions = conditions
        self.pictures = pictures
        self.rows: list[int] = []
        self._waiting: list[NDArray[np.uint8]] = []
        self._means: list[Tensor] = []
        self._log_variances: list[Tensor] = []

    def add(self, row: int, original: NDArray[np.uint8], edited: NDArray[np.uint8]) -> None:
        """A row's pictures, as they are and mirrored."""
        self.rows.append(row)
        self._waiting += [edited, original, edited[:, :, ::-1], original[:, :, ::-1]]
        while len(self._waiting) >= self.pictures:
            self._encode()

    def finish(self) -> Tensor:
        """All rows' latents (row, mirrored, 3, 4, h, w)."""
        while self._waiting:
            self._encode()
        # (row, mirrored, edited or original, 4, h, w)
        mean, log_variance = (
            torch.cat(parts).unflatten(0, (-1, 2, 2))
            for parts in (self._means, self._log_variances)
        )
        return torch.stack([mean[:, :, 0], log_variance[:, :, 0], mean[:, :, 1]], 2)

    def _encode(self) -> None:
        now, self._waiting = self._waiting[: self.pictures], self._waiting[self.pictures :]
        padded = now + [now[-1]] * (self.pictures - len(now))
        mean, log_variance = self.conditions.latents(torch.from_numpy(np.stack(padded)))
        self._means.append(mean[: len(now)].cpu())
        self._log_variances.append(log_variance[: len(now)].cpu())


def _bytes(names: Iterable[bytes]) -> Tensor:
    data = b"".join(names)
    return torch.from_numpy(np.frombuffer(data, np.uint8).reshape(-1, 16).copy())
