"""Drawn flights: countryside, cameras, and ground truth about what the pictures show."""
