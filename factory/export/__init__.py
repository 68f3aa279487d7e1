"""`export`, a stage: a sealed run as a dataset that others read, split by prompt."""
