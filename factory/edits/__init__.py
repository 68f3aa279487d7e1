"""Bulk edits: pictures of a folder or bucket, each edited as it is asked, to keys of the same names."""
