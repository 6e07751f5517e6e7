"""Compute resources: devices, threads, worker processes."""
