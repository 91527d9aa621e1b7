"""How the pocket ladder's models came to be: worlds, wording, and the training script."""
