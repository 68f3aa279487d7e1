"""From triplets to accepted pairs: lists, draws, gates, the unit that makes them."""
