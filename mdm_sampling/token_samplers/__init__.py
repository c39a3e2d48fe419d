"""Token samplers: what a position would be filled with."""
