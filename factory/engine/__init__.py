"""Tensors: denoise, route attention, guide, decode, score. No Ray, no storage."""
