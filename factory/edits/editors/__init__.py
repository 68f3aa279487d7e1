"""Editors, each a page: how it asks the engine for an edit."""
