"""Pipelines as somebody else might write them, with the mistakes that public ones have made."""

import numpy as np
from diffusers import DiffusionPipeline, StableDiffusionInstructPix2PixPipeline
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from PIL import Image


class Borrowing(StableDiffusionInstructPix2PixPipeline):
    """Takes the first picture of several for all of them, without a word."""

    def __call__(self, prompt, image, num_inference_steps=2, guidance_scale=2.0, generator=None):
        if isinstance(image, list):
            image = [image[0]] * len(image)
        return super().__call__(
            prompt,
            image,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            generator=generator,
        )


class Plain(DiffusionPipeline):
    """Returns what it is shown, but for what its words ask it to do wrong."""

    def __init__(self, vae):
        super().__init__()
        self.register_modules(vae=vae)
        self.calls = []

    def __call__(self, image, prompt, generator=None, output_type="pil"):
        images, prompts = (one if isinstance(one, list) else [one] for one in (image, prompt))
        self.calls.append(len(images))
        if "raise" in prompts:
            raise ValueError("a word that it does not know")
        found = np.stack([np.asarray(one, np.float32) / 255 for one in images])
        flags = [words == "blush" for words in prompts]
        for number, words in enumerate(prompts):
            if words == "burst":
                found[number, 0, 0] = np.nan
            if words == "darken":
                found[number] = 0
        if "square" in prompts:
            found = found[:, :16, :16]
        output = ImagePipelineOutput(images=found)
        output.nsfw_content_detected = flags
        return output


class Jittering(Plain):
    """Lets the place in a call change a picture by a level."""

    def __call__(self, image, prompt, generator=None, output_type="pil"):
        images = image if isinstance(image, list) else [image]
        moved = [
            Image.fromarray(np.asarray(one) // 2 + number) for number, one in enumerate(images)
        ]
        return super().__call__(moved, prompt, generator, output_type)


class Referring(Plain):
    """Takes a list of pictures for references of one edit, as FLUX.2 does."""

    def __call__(self, image, prompt, generator=None, output_type="pil"):
        images = image if isinstance(image, list) else [image]
        mixed = np.mean([np.asarray(one, np.float32) for one in images], axis=0)
        all_of_them = [Image.fromarray(mixed.astype(np.uint8))] * len(images)
        return super().__call__(all_of_them, prompt, generator, output_type)


class NoEditor(DiffusionPipeline):
    """Makes pictures of words alone."""

    def __init__(self, vae):
        super().__init__()
        self.register_modules(vae=vae)

    def __call__(self, prompt, num_inference_steps=50):
        raise NotImplementedError
