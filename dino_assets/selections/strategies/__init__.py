"""Strategies: one small class each."""
