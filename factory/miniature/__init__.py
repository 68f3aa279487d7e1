"""The miniature: a world, its oracle and a model family small enough for two CPU cores."""
