"""Language models that write edits of captions: lines to learn from, and their training."""
