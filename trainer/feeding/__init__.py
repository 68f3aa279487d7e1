"""From a dataset to the micro-batches of coming steps."""
