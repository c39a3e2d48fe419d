"""Schedules: how many positions a step fills."""
