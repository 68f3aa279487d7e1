"""A run of pairs on one page that works offline: funnel, scores, what other gates keep, candidates."""
