"""Models as files: found, fetched, pinned, and looked at before anything loads. No tensors."""
