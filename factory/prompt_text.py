"""Prompts as Stable Diffusion's text encoders are told them: broken text mended, entities resolved.

Source: `basic_clean` and `whitespace_clean` of OpenAI's CLIP (github.com/openai/CLIP, simple_tokenizer.py),
whose tokenizer the models were trained with. No tokenizer is here, and no limit of tokens.
"""

import html


def fixed_text(text: str) -> str:
    """Mis-decoded letters, typographic quotes, entities and blanks as CLIP's tokenizer mends them.

    Capitals stay.
    """
    # Nothing in plain words can be broken: most lists are not looked at further.
    if not (text.isascii() and text.isprintable() and "&" not in text):
        # Here, for it takes a tenth of a second to import.
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split())


def told_text(text: str) -> str:
    """All that CLIP's tokenizer tells apart: two prompts with one such text are the same tokens."""
    return fixed_text(text).lower()
