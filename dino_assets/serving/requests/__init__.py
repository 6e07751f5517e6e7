"""Incoming requests: access, bodies, options, plans, admission."""
