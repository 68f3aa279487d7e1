"""The training law at work: the editor's network, its loss, its order, its state. Tensors, no files."""
