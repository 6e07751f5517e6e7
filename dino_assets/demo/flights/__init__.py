"""Drawn flights: countryside, cameras, and the truth about what they show."""
