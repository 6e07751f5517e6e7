"""A process that embeds a folder through a cache: to be killed, or to run beside others.

``python -m dino_assets_tests.worlds.caching_process CHECKPOINT FOLDER CACHE``
"""

import sys

from dino_assets import CachedExtractor

if __name__ == "__main__":
    checkpoint, folder, cache = sys.argv[1:]
    options = {"model_name": checkpoint, "device": "cpu", "precision": "fp32"}
    embeddings, _ = CachedExtractor(cache, **options).extract_from_directory(folder)
    print(len(embeddings))
