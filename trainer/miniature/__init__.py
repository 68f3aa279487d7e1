"""Train the miniature from nothing: autoencoder, text-to-image model, CLIP."""
