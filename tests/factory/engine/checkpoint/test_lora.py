"""LoRAs in diffusers' layouts and kohya's, merged as diffusers' own pipeline merges them."""

import re
from functools import cache

import diffusers
import pytest
import torch
from safetensors.torch import save_file

from factory.engine.checkpoint.load import load_models
from factory.errors import ModelError
from factory.models.pin import pin
from factory.pairs.prompt_to_prompt import PromptToPrompt
from factory.pairs.source import Made
from schemas.recipe import Lora
from tests.factory.engine import family as saved
from tests.factory.engine.architectures import tiny_families, tiny_recipe

torch.set_num_threads(1)
CPU = torch.device("cpu")
FAMILIES = ("sd-1", "sd-2-v")
SELF = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
UNET_LAYERS = (f"{SELF}.to_q", f"{SELF}.to_out.0", f"{SELF.replace('attn1', 'ff')}.net.0.proj")
UNET_CONVOLUTION = "down_blocks.0.resnets.1.conv1"
TEXT_LAYERS = tuple(
    f"encoder.layers.{i}.{part}"
    for i in (0, 2)
    for part in ("self_attn.q_proj", "self_attn.out_proj", "mlp.fc1")
)
RANKS = (3, 3, 2)
"""By turns: trained LoRAs that were resized have another rank in each layer."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    with tiny_families(tmp_path_factory.mktemp("tiny"), FAMILIES) as root:
        yield root


def recipe(root, name, *loras):
    return tiny_recipe(root, name, loras=loras)


@cache
def plain(root, name):
    """Before any LoRA."""
    return merged(root, name)


def merged(root, name, *loras):
    """Every weight of the UNet and of the text encoder."""
    models = load_models(recipe(root, name, *loras), CPU)
    text = {k.removeprefix("text_model."): w for k, w in models.text.encoder.state_dict().items()}
    unet = models.unet.state_dict()
    return {f"unet.{k}": w for k, w in unet.items()} | {f"text.{k}": w for k, w in text.items()}


def matrices(weights, layers, *, seed=0):
    """Layer to (down, up), as a training would leave them."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {}
    for i, layer in enumerate(layers):
        rank, shape = RANKS[i % 3], weights[f"{layer}.weight"].shape
        ends = (1, 1) if len(shape) == 4 else ()
        down = torch.randn(rank, *shape[1:], generator=generator) * 0.2
        drawn[layer] = down, torch.randn(shape[0], rank, *ends, generator=generator) * 0.2
    return drawn


def drawn(weights):
    """Matrices for some layers of the UNet and of the text encoder."""
    unet = [f"unet.{layer}" for layer in (*UNET_LAYERS, UNET_CONVOLUTION)]
    return matrices(weights, [*unet, *(f"text.{layer}" for layer in TEXT_LAYERS)])


def kohya(layers, alphas):
    """Names as sd-scripts writes them."""
    named = {}
    for i, (layer, (down, up)) in enumerate(layers.items()):
        start = re.sub(
            "^unet_", "lora_unet_", re.sub("^text_", "lora_te_text_model_", underscored(layer))
        )
        named |= {
            f"{start}.lora_down.weight": down,
            f"{start}.lora_up.weight": up,
            f"{start}.alpha": torch.tensor(alphas[i % len(alphas)]),
        }
    return named


def underscored(layer):
    return layer.replace(".", "_")


def peft(layers):
    named = {}
    for layer, (down, up) in layers.items():
        start = layer.replace("text.", "text_encoder.text_model.", 1)
        named |= {f"{start}.lora_A.weight": down, f"{start}.lora_B.weight": up}
    return named


def older(layers):
    """Names as diffusers wrote them in 2023; of the UNet only attention layers."""
    named = {}
    for layer, (down, up) in layers.items():
        start = layer.replace("text.", "text_encoder.text_model.", 1)
        start = re.sub(r"\.to_(\w+)(\.0)?$", r".processor.to_\1_lora", start)
        start = start if start.endswith("_lora") else f"{start}.lora_linear_layer"
        named |= {f"{start}.down.weight": down, f"{start}.up.weight": up}
    return named


def product(down, up):
    if down.ndim == 2:
        return up @ down
    return torch.einsum("or,rihw->oihw", up[:, :, 0, 0], down)


@pytest.mark.parametrize(
    "name", ["sd-1", *(pytest.param(name, marks=pytest.mark.long) for name in FAMILIES[1:])]
)
@pytest.mark.parametrize("layout", ["peft", "older", "kohya", "kohya, uneven"])
def test_each_layer_gains_its_scaled_product_as_in_diffusers_pipeline(tiny, tmp_path, name, layout):
    before = plain(tiny, name)
    layers = drawn(before)
    if layout == "older":
        layers = {k: v for k, v in layers.items() if "attn1" in k or k.startswith("text.")}
    alphas = [1.0, 2.0, 4.0] if layout.endswith("uneven") else [1.5]
    write = {"peft": peft, "older": older}.get(layout, lambda of: kohya(of, alphas))
    file = tmp_path / "lora.safetensors"
    save_file(write(layers), file)
    after = merged(tiny, name, Lora(source=str(file), scale=0.5))
    factors = {
        layer: 0.5 * (alphas[i % len(alphas)] / down.shape[0] if layout.startswith("kohya") else 1)
        for i, (layer, (down, _)) in enumerate(layers.items())
    }
    assert after.keys() == before.keys()
    for key, weight in before.items():
        layer = key.removesuffix(".weight")
        expected = weight + (factors[layer] * product(*layers[layer]) if layer in layers else 0)
        torch.testing.assert_close(after[key], expected, rtol=0, atol=1e-6, msg=key)
    if layout == "kohya, uneven":
        return  # diffusers 0.42 loses uneven alphas
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(tiny / name)
    pipeline.load_lora_weights(tmp_path, weight_name=file.name)
    pipeline.fuse_lora(lora_scale=0.5)
    pipeline.unload_lora_weights()
    for start, part in (("unet", pipeline.unet), ("text", pipeline.text_encoder)):
        for key, weight in part.state_dict().items():
            ours = after[f"{start}.{key.removeprefix('text_model.')}"]
            torch.testing.assert_close(ours, weight, rtol=0, atol=1e-6, msg=key)


def test_loras_are_merged_one_after_another_and_make_a_pair(tiny, tmp_path):
    before = plain(tiny, "sd-1")
    sources, expected = [], {layer: before[f"{layer}.weight"] for layer in drawn(before)}
    for seed, scale in ((1, 1.0), (2, -0.5)):
        layers = matrices(before, expected, seed=seed)
        save_file(kohya(layers, [2.0]), tmp_path / f"{seed}.safetensors")
        sources.append(Lora(source=str(tmp_path / f"{seed}.safetensors"), scale=scale))
        expected = {
            k: weight + scale * 2 / layers[k][0].shape[0] * product(*layers[k])
            for k, weight in expected.items()
        }
    after = merged(tiny, "sd-1", *sources)
    for layer, weight in expected.items():
        torch.testing.assert_close(after[f"{layer}.weight"], weight, rtol=0, atol=1e-6)
    pictures = []
    for loras in ((), sources):
        engine = PromptToPrompt(recipe(tiny, "sd-1", *loras), device="cpu", batch_pairs=1)
        made = next(engine.pairs([saved.draw(saved.CAPTIONS[0], seed=1)]))
        assert isinstance(made, Made)
        pictures.append(made.original)
    assert (pictures[0] != pictures[1]).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda w: {f"other.{k}": v for k, v in w.items()}, r"got 0 of", id="none"),
        pytest.param(
            lambda w: w | {"unet.no.such.lora_A.weight": torch.ones(2, 2)},
            r"got 10 of 11",
            id="one",
        ),
        pytest.param(
            lambda w: {
                k: v.repeat(1, 2) if "lora_A" in k and v.ndim == 2 else v for k, v in w.items()
            },
            r"cannot merge LoRA",
            id="another width",
        ),
        pytest.param(lambda w: {"weight": torch.ones(2)}, r"got 0 of 0 that do", id="no LoRA"),
        pytest.param(
            lambda w: {"lora_unet_mid_block.hada_w1_a": torch.ones(2)},
            r"cannot merge LoRA",
            id="another method",
        ),
        pytest.param(
            lambda w: {"lora_unet_conv_in.dora_scale": torch.ones(2)}, r"got DoRA", id="DoRA"
        ),
    ],
)
def test_lora_with_a_layer_that_has_no_place_is_refused(tiny, tmp_path, change, message):
    save_file(change(peft(drawn(plain(tiny, "sd-1")))), tmp_path / "lora.safetensors")
    lora = Lora(source=str(tmp_path / "lora.safetensors"))
    with pytest.raises(ModelError, match=message) as raised:
        load_models(recipe(tiny, "sd-1", lora), CPU)
    assert str(tmp_path / "lora.safetensors") in str(raised.value)


def test_name_on_a_lora_is_refused(tiny, tmp_path):
    save_file({"x": torch.ones(1)}, tmp_path / "lora.safetensors")
    lora = Lora(source=str(tmp_path / "lora.safetensors"), name="x")
    with pytest.raises(ModelError, match="name must be null for role lora, got 'x'"):
        pin(recipe(tiny, "sd-1", lora))
