"""Stage *probes*: reads labels and embeddings, and drafts what is learnt from them."""
