"""The checkpoints that the tests of the engines use, too."""

from dino_assets_tests.embeddings.encoder.conftest import one_tiny, sample_of, tiny

__all__ = ["one_tiny", "sample_of", "tiny"]
