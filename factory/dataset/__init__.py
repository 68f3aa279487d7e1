"""A dataset of pairs, opened once and passed on: its files, index, rows and latents' place."""
