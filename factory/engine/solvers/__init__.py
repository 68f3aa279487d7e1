"""Noise levels and steps: how a sample comes from noise."""
