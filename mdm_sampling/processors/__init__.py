"""Processors: changes to the logits before anything reads them."""
