"""Decode images that strangers made, in a child process that has little to lose."""
