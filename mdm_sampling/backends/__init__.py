"""Model backends: one file a family."""
