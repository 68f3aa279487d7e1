"""Single files in CompVis' layout: the same models as the folders of the same weights."""

import socket

import diffusers
import open_clip
import pytest
import torch
from safetensors.torch import load_file

from factory.engine.checkpoint import single_file
from factory.engine.checkpoint.load import load_models
from factory.errors import ModelError
from factory.models import family
from factory.models.pin import pin
from factory.pairs.prompt_to_prompt import PromptToPrompt
from factory.pairs.source import Made
from schemas.recipe import ModelSource
from tests.factory.engine import family as saved
from tests.factory.engine.architectures import (
    FAMILIES,
    Weights,
    save_tokenizer,
    save_weights,
    tiny_families,
    tiny_recipe,
)
from tests.factory.engine.compvis import autoencoder_weights
from tests.factory.engine.outputs import PROMPTS, outputs, outputs_of, settled

torch.set_num_threads(1)
CPU = torch.device("cpu")
AWKWARD = (
    "",
    "hello!",
    "wow!!! it's 512px",
    "naïve  café\n日本 \U0001f600",
    "The_Snake's 'S",
    "jekyll's zymurgy",
    "é" * 90,
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    with tiny_families(tmp_path_factory.mktemp("tiny")) as root:
        yield root


@pytest.fixture
def no_network(monkeypatch):
    """Whatever tries to reach another machine, whether or not somebody catches the error."""
    tried: list[object] = []

    def refuse(*arguments, **_):
        tried.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tried


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *((name, "float32") for name in FAMILIES),
        pytest.param("sd-1", "bfloat16", marks=pytest.mark.long),
        pytest.param("sd-2-v", "float16", marks=pytest.mark.long),
    ],
)
def test_folder_and_single_file_give_what_diffusers_gives(tiny, name, dtype):
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
        tiny / name, torch_dtype=getattr(torch, dtype)
    )
    theirs = outputs(
        settled(pipeline.unet),
        settled(pipeline.vae),
        pipeline.text_encoder,
        pipeline.tokenizer,
    )
    for single in (False, True):
        models = load_models(tiny_recipe(tiny, name, single=single, dtype=dtype), CPU)
        ours = outputs_of(models)
        for part, expected in theirs.items():
            assert torch.equal(ours[part], expected), (part, single)
        torch.testing.assert_close(
            1 / (1 + models.schedule.sigmas**2),
            pipeline.scheduler.alphas_cumprod.double(),
            rtol=1e-4,
            atol=0,
        )
        assert models.schedule.prediction == pipeline.scheduler.config.prediction_type
        assert models.autoencoder.scaling == pipeline.vae.config.scaling_factor
    assert all(output.isfinite().all() for output in theirs.values())
    spread = {part: float(output.float().std()) for part, output in theirs.items()}
    assert min(spread.values()) > 0.05, spread


@pytest.mark.long
@pytest.mark.parametrize("name", FAMILIES)
def test_folder_and_single_file_make_the_same_pair(tiny, name, no_network):
    made = []
    for single in (False, True):
        engine = PromptToPrompt(tiny_recipe(tiny, name, single=single), device="cpu", batch_pairs=1)
        made.append(next(engine.pairs([saved.draw(saved.CAPTIONS[0], seed=4)])))
    folder, file = made
    assert isinstance(folder, Made)
    assert isinstance(file, Made)
    assert folder.original.std() > 1
    assert (folder.original != folder.edited).any()
    assert (folder.original == file.original).all()
    assert (folder.edited == file.edited).all()
    assert folder.scores == file.scores
    assert not no_network


def test_families_of_one_architecture_differ_in_what_they_predict(tiny):
    source = str(tiny / "sd-2-v.safetensors")
    latents = [
        saved.sample(
            tiny_recipe(
                tiny, "sd-2-v", single=True, text_to_image=ModelSource(source=source, name=name)
            ),
            [saved.draw(saved.CAPTIONS[0], seed=1)],
            1,
        )[1]
        for name in ("sd-2-base", "sd-2-v")
    ]
    assert not torch.allclose(*latents)


def test_sd_2_text_encoder_is_open_clips_without_its_last_layer(tiny, tmp_path):
    fields = family.family_fields("sd-2-base")["text_encoder"]
    text = {
        "width": fields["hidden_size"],
        "heads": fields["num_attention_heads"],
        "layers": fields["num_hidden_layers"] + 1,
        "mlp_ratio": fields["intermediate_size"] / fields["hidden_size"],
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        image = {"layers": 1, "width": 32, "head_width": 8, "image_size": 16, "patch_size": 8}
        clip = open_clip.CLIP(fields["hidden_size"], image, text).eval()
    weights = {k: v for k, v in clip.state_dict().items() if not k.startswith("visual.")}
    weights = {f"cond_stage_model.model.{k}": v for k, v in weights.items()}
    file = save_weights(weights, tmp_path / "text.safetensors")
    encoder = single_file.load_text_encoder(file, "sd-2-base", torch.float32)
    ids = open_clip.get_tokenizer("ViT-H-14")(list(PROMPTS))
    with torch.no_grad():
        x = clip.token_embedding(ids) + clip.positional_embedding
        for block in clip.transformer.resblocks[:-1]:
            x = block(x, attn_mask=clip.attn_mask)
        theirs, ours = clip.ln_final(x), encoder(ids).last_hidden_state
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert theirs.std() > 0.1


@pytest.mark.parametrize("name", FAMILIES)
def test_tokenizer_is_clips_and_its_folders(name, tmp_path):
    pad = "<|endoftext|>" if name == "sd-1" else "!"
    tokenizer = single_file.load_tokenizer(name)
    folder = type(tokenizer).from_pretrained(save_tokenizer(tmp_path / "tokenizer", pad))
    assert (len(tokenizer), tokenizer.model_max_length) == (49_408, 77)
    assert tokenizer.pad_token_id == {"sd-1": 49_407}.get(name, 0)
    original = open_clip.get_tokenizer("ViT-H-14")
    for prompt in (*PROMPTS, *AWKWARD):
        ours = tokenizer(prompt, padding="max_length", truncation=True).input_ids
        assert ours == folder(prompt, padding="max_length", truncation=True).input_ids
        if name == "sd-1" or "!" not in prompt:  # a special token is not part of a word
            end = ours.index(49_407) + 1
            assert ours[:end] == original([prompt])[0][:end].tolist()
            assert set(ours[end:]) <= {tokenizer.pad_token_id}


@pytest.mark.parametrize("layout", ["compvis", "checkpoint", "diffusers", "before 2023"])
def test_autoencoder_in_a_single_file_takes_the_built_in_ones_place(tiny, tmp_path, layout):
    other = Weights("sd-1", seed=1)
    weights = {
        "compvis": lambda: autoencoder_weights(other.autoencoder, 4),
        "checkpoint": other.single_file,
        "diffusers": lambda: other.autoencoder,
        "before 2023": lambda: {old_name(k): w for k, w in other.autoencoder.items()},
    }[layout]()
    file = save_weights(weights | {"loss.logvar": torch.zeros(())}, tmp_path / "vae.safetensors")
    ours = single_file.load_autoencoder(file, torch.float32).eval()
    theirs = diffusers.AutoencoderKL.from_config(family.autoencoder_fields()).eval()
    theirs.load_state_dict(other.autoencoder)
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pictures = [vae.decode(x).sample for vae in (ours, theirs)]
        means = [vae.encode(pictures[0]).latent_dist.mean for vae in (ours, theirs)]
    assert torch.equal(*pictures)
    assert torch.equal(*means)
    if layout == "compvis":
        of = tiny_recipe(tiny, "sd-2-v", single=True, autoencoder=ModelSource(source=str(file)))
        engine = PromptToPrompt(of, device="cpu", batch_pairs=1)
        built_in = load_file(tiny / "sd-2-v.safetensors")["first_stage_model.decoder.conv_in.bias"]
        assert not torch.equal(engine.models.autoencoder.network.decoder.conv_in.bias, built_in)
        assert isinstance(next(engine.pairs([saved.draw(PROMPTS, seed=1)])), Made)


def old_name(name: str) -> str:
    for new, old in {
        "to_q": "query",
        "to_k": "key",
        "to_v": "value",
        "to_out.0": "proj_attn",
    }.items():
        name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
    return name


def test_checkpoint_without_an_autoencoder_runs_with_another(tiny, tmp_path):
    weights = load_file(tiny / "sd-1.safetensors")
    pruned = {k: w for k, w in weights.items() if not k.startswith("first_stage_model.")}
    source = ModelSource(source=str(save_weights(pruned, tmp_path / "sd.safetensors")))
    with pytest.raises(ModelError, match=r"must hold an autoencoder under first_stage_model\.\*"):
        pin(tiny_recipe(tiny, "sd-1", single=True, text_to_image=source))
    of = tiny_recipe(
        tiny,
        "sd-1",
        single=True,
        text_to_image=source,
        autoencoder=ModelSource(source=str(tiny / "sd-1" / "vae")),
    )
    ours = outputs_of(load_models(pin(of), CPU))
    whole = outputs_of(load_models(tiny_recipe(tiny, "sd-1", single=True), CPU))
    assert all(torch.equal(ours[part], whole[part]) for part in whole)


def test_pinning_names_the_family_the_file_and_the_size(tiny):
    source = ModelSource(source=str(tiny / "sd-1.safetensors"))
    pinned = pin(tiny_recipe(tiny, "sd-1", single=True, text_to_image=source))
    assert pinned.text_to_image.name == "sd-1"
    assert list(pinned.text_to_image.files) == ["sd-1.safetensors"]
    assert pin(pinned) == pinned
    assert pinned.recipe_hash == pin(tiny_recipe(tiny, "sd-1", single=True)).recipe_hash
    with pytest.raises(ModelError, match=r"size_px: must be a multiple of 8.*got 60"):
        pin(tiny_recipe(tiny, "sd-1", single=True, size_px=60))
