"""Cache strategies: which span a forward recomputes."""
