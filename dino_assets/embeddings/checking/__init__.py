"""Check of a model file against the float32 reference, with a diagnosis of its faults."""
