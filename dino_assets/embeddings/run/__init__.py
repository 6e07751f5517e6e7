"""Running an encoder over shards or pictures, and progress reports."""
