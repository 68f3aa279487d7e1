"""Latents and contexts, made once for all trainings on a dataset."""
