"""Whether a model's files are what they say and fit each other, before anything loads."""
