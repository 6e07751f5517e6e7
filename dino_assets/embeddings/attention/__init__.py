"""Attention maps and patch features: reading them from a model, and drawing them over a picture.

These modules do not use the engines. They compute with PyTorch in float32, one picture of any size at a time.
"""
