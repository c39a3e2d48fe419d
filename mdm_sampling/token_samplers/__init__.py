"""Token samplers: what a place would be filled with."""
