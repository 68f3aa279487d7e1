"""Prompt-to-Prompt's controls and Plug-and-Play's written slowly: what the engine has to agree with.

One request at a time, by DDIM, all attention maps materialised and edited after their softmax, as the
original code does; nothing shared with the engine but the modules of the checkpoint. Behaviour matched:
google/prompt-to-prompt (`seq_aligner.py`, `AttentionControlEdit` and its kinds, `LocalBlend`
of the null-text notebook) and MichalGeyer/pnp-diffusers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tests.factory.engine.reference_samplers import PredictionType, ddim_timesteps


def spans(tokenizer, text: str) -> list[list[int]]:
    """Places of the tokens of each word; a word ends when its letters are used up."""
    tokens = tokenizer(text.lower()).input_ids[1:-1]
    found, place = [], 1
    for word in text.lower().split(" "):
        mine, letters = [], 0
        while letters < len(word) and place <= len(tokens):
            letters += len(tokenizer.decode([tokens[place - 1]]).strip("#"))
            mine.append(place)
            place += 1
        found.append(mine)
    return found


def replacement(tokenizer, source: str, target: str) -> np.ndarray:
    """The mapper of AttentionReplace: one walk over both rows of tokens."""
    length = tokenizer.model_max_length
    words = list(zip(source.lower().split(" "), target.lower().split(" "), strict=True))
    olds, news = spans(tokenizer, source), spans(tokenizer, target)
    changed = [n for n, (a, b) in enumerate(words) if a != b]
    mapper = np.zeros((length, length))
    i = j = 0
    while i < length and j < length:
        if changed and olds[changed[0]][0] == i:
            old, new = olds[changed[0]], news[changed[0]]
            for a, o in enumerate(old):
                for b, n in enumerate(new):
                    if len(old) != len(new):
                        mapper[o, n] = 1 / len(new)
                    elif a == b:
                        mapper[o, n] = 1
            changed = changed[1:]
            i, j = i + len(old), j + len(new)
        else:
            mapper[i if changed else j, j] = 1
            i, j = i + 1, j + 1
    return mapper


def refinement(tokenizer, source: str, target: str) -> tuple[np.ndarray, np.ndarray]:
    """Index of the source's token for each of the target's, and 1 where there is one."""
    length = tokenizer.model_max_length
    x, y = (tokenizer(text.lower()).input_ids for text in (source, target))
    matrix, trace = np.zeros((len(x) + 1, len(y) + 1), int), np.zeros((len(x) + 1, len(y) + 1), int)
    trace[0, 1:], trace[1:, 0], trace[0, 0] = 1, 2, 4
    for i in range(1, len(x) + 1):
        for j in range(1, len(y) + 1):
            left, up = matrix[i, j - 1], matrix[i - 1, j]
            diagonal = matrix[i - 1, j - 1] + (1 if x[i - 1] == y[j - 1] else -1)
            matrix[i, j] = max(left, up, diagonal)
            trace[i, j] = 1 if matrix[i, j] == left else 2 if matrix[i, j] == up else 3
    i, j, back = len(x), len(y), []
    while trace[i, j] != 4:
        if trace[i, j] == 3:
            i, j = i - 1, j - 1
            back.append((j, i))
        elif trace[i, j] == 1:
            j -= 1
            back.append((j, -1))
        else:
            i -= 1
    index, known = np.arange(length), np.ones(length)
    for place, of in back:
        index[place], known[place] = max(of, 0), of >= 0
    return index, known


@dataclass
class Controls:
    """Of rows: [source, without, edited], or of a pair [source without, edited without, source, edited]."""

    source: int
    edited: int
    kind: str = ""
    """`replace`, `refine` or none."""
    cross: Tensor | None = None
    """Share of the steps for each token of the target."""
    mapper: object = None
    weights: Tensor | None = None
    self_share: float = 0.0
    self_rows: Mapping[int, int] = field(default_factory=dict)
    """Rows that take another's self-attention, and whose."""
    self_layers: Callable[[str], bool] = lambda name: True
    features: Callable[[str], bool] | None = None
    feature_share: float = 0.0
    blend: tuple[Tensor, Tensor, float, float, int] | None = None
    """Tokens of source and target as columns, threshold, start, positions of the maps' layers."""
    step: int = 0
    steps: int = 0
    maps: list[Tensor] = field(default_factory=list)


class MapAttention:
    """A diffusers attention processor that edits the whole map."""

    def __init__(self, name: str, controls: Controls) -> None:
        self.name, self.controls = name, controls

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None):
        own = encoder_hidden_states is None
        context = hidden_states if own else encoder_hidden_states
        rows, positions, _ = hidden_states.shape

        def heads(x):
            return x.reshape(rows, x.shape[1], attn.heads, -1).transpose(1, 2)

        q, k, v = (
            heads(attn.to_q(hidden_states)),
            heads(attn.to_k(context)),
            heads(attn.to_v(context)),
        )
        maps = (q @ k.transpose(2, 3) * attn.scale).softmax(-1)
        maps = self.self_maps(maps) if own else self.cross_maps(maps)
        out = (maps @ v).transpose(1, 2).reshape(rows, positions, -1)
        return attn.to_out[0](out)

    def self_maps(self, maps: Tensor) -> Tensor:
        c = self.controls
        if c.step < int(c.self_share * c.steps) and c.self_layers(self.name):
            maps = maps.clone()
            for row, lender in c.self_rows.items():
                maps[row] = maps[lender]
        return maps

    def cross_maps(self, maps: Tensor) -> Tensor:
        c = self.controls
        if c.kind:
            base, mine = maps[c.source], maps[c.edited]
            if c.kind == "replace":
                taken = torch.einsum("hpw,wn->hpn", base, torch.from_numpy(c.mapper).to(base))
            else:
                index, known = (torch.from_numpy(a) for a in c.mapper)
                known = known.to(base)
                taken = base[:, :, index] * known + mine * (1 - known)
            if c.weights is not None:
                taken = taken * c.weights.to(taken)
            on = torch.tensor([c.step < int(float(s) * (c.steps + 1)) for s in c.cross]).to(taken)
            maps = maps.clone()
            maps[c.edited] = taken * on + mine * (1 - on)
        if c.blend is not None and maps.shape[2] == c.blend[4]:
            c.maps.append(maps[[c.source, c.edited]].mean(1))
        return maps


def blended(controls: Controls, before: Tensor, after: Tensor) -> Tensor:
    """The edited latent: where neither picture's words are, the source's."""
    source_tokens, target_tokens, threshold, start, positions = controls.blend
    if controls.step + 1 <= int(start * controls.steps):
        return after
    height, width = before.shape[1:]
    shrink = int((height * width / positions) ** 0.5)
    mask = torch.zeros(height, width, dtype=torch.bool)
    for row, tokens in enumerate((source_tokens, target_tokens)):
        total = sum((m[row] * tokens.to(m)).sum(-1) for m in controls.maps)
        grid = total.reshape(height // shrink, width // shrink)
        padded = torch.nn.functional.pad(grid, (1, 1, 1, 1), value=-torch.inf)
        spread = torch.stack(
            [
                padded[i : i + grid.shape[0], j : j + grid.shape[1]]
                for i in range(3)
                for j in range(3)
            ]
        ).amax(0)
        spread = spread.repeat_interleave(shrink, 0).repeat_interleave(shrink, 1)
        mask |= spread / spread.max() > threshold
    return torch.where(mask, after, before)


def noise_of(output: Tensor, x: Tensor, a: Tensor, prediction_type: PredictionType) -> Tensor:
    """What the network says that is noise in latents of unit variance."""
    output = output.double()
    return a.sqrt() * output + (1 - a).sqrt() * x if prediction_type == "v_prediction" else output


@torch.no_grad()
def controlled(
    unet,
    abar: Tensor,
    contexts: Tensor,
    latent_of: Sequence[int],
    guided: Sequence[tuple[Sequence[int], Sequence[float]]],
    start: Sequence[Tensor],
    controls: Controls,
    steps: int,
    followed: Sequence[Tensor] | None = None,
    prediction_type: PredictionType = "epsilon",
) -> list[Tensor]:
    """Final latents by DDIM. `contexts` (row, token, width), `latent_of` each row's latent, `guided` of
    each latent its rows from the least told on and the scales between them, `followed` what the first
    latent is before each step and at the end.
    """
    controls.steps, controls.maps = steps, []
    before = dict(unet.attn_processors)
    unet.set_attn_processor({name: MapAttention(name, controls) for name in before})
    hooks = []

    def inject(_module, _given, branch):
        if controls.step < int(controls.feature_share * steps):
            branch = torch.stack([branch[controls.source]] * len(branch))
        return branch

    if controls.features:
        hooks = [
            module.register_forward_hook(inject)
            for name, module in unet.named_modules()
            if controls.features(name)
        ]
    x = list(start)
    try:
        for number, t in enumerate(ddim_timesteps(len(abar), steps)):
            controls.step = number
            if followed is not None:
                x[0] = followed[number]
            a, previous = abar[t], abar[max(t - len(abar) // steps, 0)]
            rows = torch.stack([x[latent] for latent in latent_of])
            noise = noise_of(
                unet(rows.to(unet.dtype), t, contexts).sample, rows, a, prediction_type
            )
            after = []
            for latent, (mine, scales) in enumerate(guided):
                e = noise[mine[0]]
                for scale, low, high in zip(scales, mine, mine[1:], strict=False):
                    e = e + scale * (noise[high] - noise[low])
                clean = (x[latent] - (1 - a).sqrt() * e) / a.sqrt()
                after.append(previous.sqrt() * clean + (1 - previous).sqrt() * e)
            x = after
            if controls.blend is not None:
                x[1] = blended(controls, followed[number + 1] if followed else x[0], x[1])
    finally:
        unet.set_attn_processor(before)
        for hook in hooks:
            hook.remove()
    if followed is not None:
        x[0] = followed[steps]
    return x
