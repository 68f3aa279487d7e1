"""Captions to triplets, triplets to pairs, pairs to a dataset. No torch and no Ray at this level."""
