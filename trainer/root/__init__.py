"""A training's root in a store: whose it is, its checkpoints, the finished editor."""
