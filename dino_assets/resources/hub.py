"""``hub``: where checkpoints come from."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from dino_assets.settings import find_root
from dino_assets.store.hub import find_checkpoint


class HubResource(dg.ConfigurableResource):
    """The Hugging Face Hub, or a folder that stands for it."""

    model: str = Field(
        description=(
            "The checkpoint: a directory in Hugging Face layout, or a Hub repository such as "
            "facebook/dinov2-base. HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are honoured."
        ),
    )

    def find(self) -> Path:
        """The checkpoint's directory on this machine.

        Raises:
            CheckpointNotFoundError: it is not here and cannot be had.
            DiskFullError: there is no room for it.
        """
        return find_checkpoint(self.model, root=find_root())
