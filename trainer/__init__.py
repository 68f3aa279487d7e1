"""Train: the miniature's own models, and from its issue on the editor. torch, no Ray."""
