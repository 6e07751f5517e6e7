"""The output *embeddings* joined with the store: drafted, computed, copied, judged."""
