"""Drops, the photographs of one flight or SD card: sources, arrival, registration, changes and state."""
