"""What a network is told of a prompt, and what of it is cut."""
