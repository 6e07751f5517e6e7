"""What computes: engines, decoded pictures, tiles in turns."""
