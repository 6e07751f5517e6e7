"""``hub``: where checkpoints come from."""

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
    """The Hugging Face Hub, or a folder that stands for it."""

    model: str = Field(
        description=(
            "The checkpoint: a directory in Hugging Face layout, or a Hub repository such as "
            "facebook/dinov2-base or, for short, dinov3-vitl16. HF_HOME, HF_ENDPOINT, HF_TOKEN and "
            "HF_HUB_OFFLINE are honoured."
        ),
    )
    revision: str | None = Field(
        default=None,
        description=(
            "A branch, a tag or a commit of the repository; the branch main if none is named. A commit "
            "never moves, and costs no request once it is here."
        ),
    )

    def explain_other_model(self, store: ObjectStore) -> str:
        """Say that the store's weights are not of this model, and what to do; nothing where they are."""
        return explain_other_model(store, self.model, self.revision or None, root=find_root())

    def locate(self, say: Callable[[str], object]) -> Located:
        """Which checkpoint that is, and how to bring it to this machine, telling how far it is.

        Raises:
            CheckpointNotFoundError: it is not here and cannot be had.
        """
        return locate_checkpoint(
            self.model,
            root=find_root(),
            revision=self.revision or None,
            watch=Watch(
                ProgressLines(say, what=self.model),
                glance=lambda new: check_config(new, self.model),
            ),
        )
