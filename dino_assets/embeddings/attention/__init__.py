"""What a model looks at: attention weights, patch features, and pictures of both, for people.

Apart from the engines: everything here is PyTorch in float32, one picture of any size at a time.
"""
