"""Pretraining of the pocket ladder's models: the corpus and the training script."""
