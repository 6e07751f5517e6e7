"""Load on a service that runs, sent and measured: for `dino-assets bench-serve`, and for our own benches."""
