"""What computes: devices, threads and processes."""
