"""From a checkpoint's files to networks with their weights."""
