"""`evaluate`, a stage: editors on held-out pictures, their scores, the curve that they make."""
