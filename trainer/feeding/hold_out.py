"""Which prompts a training never sees."""

from collections.abc import Sequence


def hold_out(prompts: Sequence[str], share: float, least: int) -> tuple[list[int], list[int]]:
    """Numbers of the prompts that are trained, and of those that are not.

    Prompts are named by a hash, so those with the smallest names are an even sample, the same one
    while a dataset grows. `least` are held out in any case where at least as many remain; one always
    is trained. Differs: InstructPix2Pix trains 90 % of the prompts, by their place in its list; diffusers'
    script trains all rows.
    """
    ordered = sorted(range(len(prompts)), key=lambda i: prompts[i])
    below = int(share * 16**16)
    count = sum(int(prompt, 16) < below for prompt in prompts)
    count = min(max(count, min(least, len(prompts) // 2)), len(prompts) - 1)
    return sorted(ordered[count:]), ordered[:count]
