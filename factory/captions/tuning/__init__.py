"""A language model of one's own: lines to learn from, and a server's fine-tuning."""
