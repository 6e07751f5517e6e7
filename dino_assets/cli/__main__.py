"""The entry point of ``python -m dino_assets.cli``."""

import sys

from dino_assets.cli import main

sys.exit(main())
