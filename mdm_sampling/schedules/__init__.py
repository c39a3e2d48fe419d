"""Schedules: how many places a step fills."""
