"""The demos: pairs, from captions on, edits."""
