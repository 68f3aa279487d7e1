"""`fit` on Ray Train: the only importers of ray in the trainer."""
