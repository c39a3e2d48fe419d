"""Position planners: which places a step fills."""
