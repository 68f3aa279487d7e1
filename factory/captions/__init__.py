"""From captions to triplets: a stage that asks a language model."""
