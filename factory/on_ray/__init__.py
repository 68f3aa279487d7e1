"""The factory on Ray: the only importers of ray here."""
