"""Intervals, exact tests and agreement: pure functions of numbers."""
