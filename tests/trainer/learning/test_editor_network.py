"""The editor's network: what it is at first, what is written, and that diffusers edits with it."""

import io
import json
from unittest.mock import patch

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from factory import seeds
from factory.edits.editors.ip2p import Ip2pEditor, load_editor
from factory.engine.autoencoder import Autoencoder
from factory.engine.checkpoint.load import load_text_to_image
from factory.engine.networks import Networks
from factory.engine.solvers.schedule import NoiseSchedule
from factory.engine.text.encoder import TextEncoder
from factory.errors import ModelError
from factory.models.editor import pin_editor
from schemas.recipe import ModelSource
from tests.factory.engine.tiny import LATENT_SIDE, SCHEDULER, save_tiny, tiny_parts
from tests.trainer.pipeline import assert_it_edits, assert_it_edits_as_we_do, plain_pipeline
from tests.trainer.small import png, small, train, write_pairs
from trainer.fit import pin_law
from trainer.learning import editor as editors
from trainer.learning.editor import widen, write_editor

RNG = torch.Generator().manual_seed(4)


def normal(*shape):
    return torch.randn(shape, generator=RNG, dtype=torch.float64)


def test_new_channels_are_zero_and_all_else_is_kept_the_bias_included():
    base, unet = tiny_parts().unet, tiny_parts().unet
    widen(unet)
    assert unet.config.in_channels == 8
    assert torch.equal(unet.conv_in.weight[:, :4], base.conv_in.weight)
    assert torch.count_nonzero(unet.conv_in.weight[:, 4:]) == 0
    assert torch.equal(unet.conv_in.bias, base.conv_in.bias)
    others = [name for name, _ in base.named_parameters() if not name.startswith("conv_in")]
    assert all(torch.equal(base.get_parameter(n), unet.get_parameter(n)) for n in others)


def test_at_first_it_says_what_its_base_says_whatever_the_picture():
    base, unet = tiny_parts().unet, tiny_parts().unet
    widen(unet)
    noisy, words = normal(2, 4, LATENT_SIDE, LATENT_SIDE), normal(2, 7, 32)
    timestep = torch.tensor([30, 800])
    expected = base(noisy, timestep, words).sample
    for picture in (torch.zeros_like(noisy), 100 * normal(2, 4, LATENT_SIDE, LATENT_SIDE)):
        assert torch.equal(unet(torch.cat([noisy, picture], 1), timestep, words).sample, expected)


def test_an_editor_stays_as_it_is():
    unet = tiny_parts().unet
    widen(unet)
    unet.conv_in.weight.data[:, 4:] = 0.5
    before = unet.conv_in
    widen(unet)
    assert unet.conv_in is before
    assert unet.conv_in.weight.data[:, 4:].eq(0.5).all()


@pytest.mark.parametrize("channels", [5, 9])
def test_other_networks_are_refused(channels):
    unet = tiny_parts().unet
    unet.conv_in = torch.nn.Conv2d(channels, 32, 3, padding=1)
    with pytest.raises(ModelError, match=f"must have 4 input channels, or 8 .* got {channels}"):
        widen(unet)


def test_another_kind_of_network_is_refused_before_any_weight_is_loaded(tmp_path):
    save_tiny(tmp_path)
    config = tmp_path / "unet" / "config.json"
    config.write_text(config.read_text().replace('"in_channels": 4', '"in_channels": 9'))
    law = small(False, law={"model": {"source": str(tmp_path)}}).law
    with pytest.raises(ModelError, match="in_channels must be 4, got 9, an inpainting model's"):
        pin_law(law)


def pipeline_of(folder):
    kind = diffusers.StableDiffusionInstructPix2PixPipeline
    found = kind.from_pretrained(str(folder), local_files_only=True)
    found.set_progress_bar_config(disable=True)
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    config = small(law={"steps": 2})
    train(config, write_pairs(folder / "pairs"), folder / "out")
    return config, folder / "out"


def test_the_pipeline_of_diffusers_loads_what_a_training_wrote_and_edits_a_picture(trained):
    assert_it_edits(pipeline_of(trained[1] / "editor"), Image.open(io.BytesIO(png(1))))


def test_what_a_training_wrote_edits_in_diffusers_as_here_whatever_its_base_walks(tmp_path):
    save_tiny(tmp_path / "base")
    config = tmp_path / "base" / "scheduler" / "scheduler_config.json"
    said = json.loads(config.read_text())
    assert (said["timestep_spacing"], said["steps_offset"]) == ("leading", 1)
    law = {"model": {"source": str(tmp_path / "base")}, "steps": 2}
    train(small(law=law), write_pairs(tmp_path / "pairs"), tmp_path / "out")
    picture = np.asarray(Image.open(io.BytesIO(png(1))))
    folder = tmp_path / "out" / "editor"
    assert_it_edits_as_we_do(folder, picture, "make it red", steps=4, text=1.5)
    # Its own scheduler's fields are those of which other solvers are made, too.
    written = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    assert not written["clip_sample"]
    assert not written["set_alpha_to_one"]
    kept = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type")
    assert [written[key] for key in kept] == [said[key] for key in kept]


def test_what_is_written_of_a_law_in_float64_is_loaded_in_one_format(tmp_path):
    parts = tiny_parts()
    widen(parts.unet)
    words = TextEncoder(parts.tokenizer, parts.text_encoder)
    write_editor(tmp_path, parts.unet, parts.vae, words, SCHEDULER)
    assert_it_edits(plain_pipeline(tmp_path), Image.open(io.BytesIO(png(1))))


def test_what_is_written_names_no_folder_of_the_machine(trained):
    config, out = trained
    texts = [file.read_text() for file in (out / "editor").rglob("*.json")]
    assert len(texts) >= 5
    assert not [text for text in texts if config.law.model.source in text]
    assert not [text for text in texts if str(out.parent) in text]


def test_what_is_written_is_the_average_and_a_training_may_go_on_from_it(trained, tmp_path):
    config, out = trained
    source = ModelSource(source=str(out / "editor"))
    written = load_text_to_image(source, None, torch.float32)
    start = load_text_to_image(config.law.model, None, torch.float32)
    assert written.unet.conv_in.in_channels == 8
    # After two steps the average (weights 2/11, 3/12) still leans to where it began.
    name = "conv_out.weight"
    moved = (written.unet.get_parameter(name) - start.unet.get_parameter(name)).abs().max()
    assert 0 < moved < 2 * config.law.learning_rate
    more = small(law={"model": source.model_dump(), "steps": 1})
    assert train(more, write_pairs(tmp_path / "pairs"), tmp_path / "more").done


@pytest.mark.long
def test_networks_too_large_for_one_file_are_cut_and_all_readers_put_them_together(
    tmp_path, monkeypatch
):
    config, dataset = small(law={"steps": 1}), write_pairs(tmp_path / "pairs")
    train(config, dataset, tmp_path / "whole")
    monkeypatch.setattr(editors, "FILE_BYTES", 50_000)
    train(config, dataset, tmp_path / "cut")
    whole, cut = (tmp_path / name / "editor" for name in ("whole", "cut"))
    for part in ("unet", "vae", "text_encoder"):
        assert len(list((whole / part).glob("*.safetensors"))) == 1, "as every pipeline has it"
        assert len(list((cut / part).glob("*.safetensors"))) > 1
        assert len(list((cut / part).glob("*.safetensors.index.json"))) == 1
    source = ModelSource(source=str(cut))
    ours, pinned = load_editor(source, "cpu"), pin_editor(source, 64)
    theirs, expected = pipeline_of(cut), load_text_to_image(
        ModelSource(source=str(whole)), None, torch.float32
    )  # fmt: skip
    assert sum(name.startswith("unet/") for name in pinned.files) > 3
    for found in (
        (ours.networks.unet, ours.networks.autoencoder.network, ours.networks.text.encoder),
        (theirs.unet, theirs.vae, theirs.text_encoder),
    ):
        for part, like in zip(
            found, (expected.unet, expected.autoencoder, expected.text.encoder), strict=True
        ):
            same = part.state_dict()
            assert all(torch.equal(same[name], of) for name, of in like.state_dict().items())
    assert_it_edits(theirs, Image.open(io.BytesIO(png(1))))
    more = small(law={"model": source.model_dump(), "steps": 1})
    assert train(more, dataset, tmp_path / "more").done


def test_edits_in_float64_are_the_papers_to_nine_digits():
    """Equation 3 and k-diffusion's `sample_euler_ancestral`, each line in float64."""
    parts = tiny_parts(prediction_type="v_prediction")
    widen(parts.unet)
    parts.unet.conv_in.weight.data[:, 4:] = 0.1 * normal(32, 4, 3, 3)
    text = TextEncoder(parts.tokenizer, parts.text_encoder)
    schedule = NoiseSchedule.from_config(SCHEDULER | {"prediction_type": "v_prediction"})
    editor = Ip2pEditor(Networks(parts.unet, Autoencoder(parts.vae), text, schedule))
    picture = torch.from_numpy(np.array(Image.open(io.BytesIO(png(2))))).permute(2, 0, 1)[None]
    steps, words, image = 5, 7.5, 1.5
    with patch.object(parts.vae, "decode", wraps=parts.vae.decode) as decode:
        editor.edit(
            picture, ["make it red"], [3], steps=steps, text_guidance=words, image_guidance=image
        )
    found = decode.call_args.args[0] * parts.vae.config.scaling_factor
    assert found.dtype == torch.float64

    def noise(purpose):
        return torch.from_numpy(seeds.noise(3, purpose, (4, LATENT_SIDE, LATENT_SIDE)))[
            None
        ].double()

    with torch.no_grad():
        seen = parts.vae.encode(picture.double() / 127.5 - 1).latent_dist.mode()
        full, none = (text.context(prompt)[None] for prompt in ("make it red", ""))
        times = torch.linspace(999, 0, steps, dtype=torch.float64)
        sigmas = torch.cat([schedule.sigma_at(times), torch.zeros(1, dtype=torch.float64)])
        x = noise("edit start") * sigmas[0]
        for i, t in enumerate(times):
            s, after = sigmas[i], sigmas[i + 1]
            spread = (s**2 + 1).sqrt()

            def denoised(context, condition, x=x, s=s, t=t, spread=spread):
                v = parts.unet(torch.cat([x / spread, condition], 1), t, context).sample
                return x / spread**2 - v * s / spread

            rows = [denoised(full, seen), denoised(none, seen), denoised(none, 0 * seen)]
            guess = rows[2] + image * (rows[1] - rows[2]) + words * (rows[0] - rows[1])
            up = (after**2 * (s**2 - after**2) / s**2).sqrt()
            x = x + (x - guess) / s * ((after**2 - up**2).sqrt() - s) + up * noise(f"edit {i}")
    assert (found - x).abs().max() < 1e-9 * x.abs().max()
