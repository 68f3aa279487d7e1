"""Which rows of a batch share their attention, and until when."""
