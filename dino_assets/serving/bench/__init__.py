"""Load test of a running service: for `dino-assets bench-serve` and for this project's benches."""
