"""Stage *embeddings*: drafts, computes, copies and checks stored embeddings."""
