"""What is looked at before words of a model become a triplet."""
