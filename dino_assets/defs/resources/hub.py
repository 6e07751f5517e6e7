"""The resource ``hub``: the configured checkpoint and its source."""

from collections.abc import Callable

import dagster as dg
from pydantic import Field

from dino_assets.settings.environment import find_root
from dino_assets.store.objects import ObjectStore
from dino_assets.weights.architecture import check_config
from dino_assets.weights.hub.filling import Watch
from dino_assets.weights.hub.locating import Located, locate_checkpoint
from dino_assets.weights.hub.progress import ProgressLines
from dino_assets.weights.stage import explain_other_model


class HubResource(dg.ConfigurableResource):
    """The Hugging Face Hub, or a local folder with a checkpoint."""

    model: str = Field(
        description=(
            "The checkpoint: a folder in Hugging Face layout, a Hub repository such as "
            "facebook/dinov2-base, or a short name such as dinov3-vitl16. The variables HF_HOME, "
            "HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are used."
        ),
    )
    revision: str | None = Field(
        default=None,
        description=(
            "A branch, a tag or a commit of the repository; default: the branch main. A commit never "
            "changes, and needs no request once its files are on this machine."
        ),
    )

    def explain_other_model(self, store: ObjectStore) -> str:
        """Explain what to do if the store has weights of another model; else return an empty text."""
        return explain_other_model(store, self.model, self.revision or None, root=find_root())

    def locate(self, say: Callable[[str], object]) -> Located:
        """Locate the configured checkpoint, or fetch it; ``say`` is called with lines about the progress.

        Raises:
            CheckpointNotFoundError: it is not on this machine and cannot be fetched.
        """
        return locate_checkpoint(
            self.model,
            root=find_root(),
            revision=self.revision or None,
            watch=Watch(
                ProgressLines(say, what=self.model),
                check_early=lambda new: check_config(new, self.model),
            ),
        )
