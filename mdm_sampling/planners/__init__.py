"""Position planners: which positions a step fills."""
