"""Families of checkpoints: what each looks like, and which class of transformers computes it."""
