"""The resource ``storage`` on S3, configured through dagster-aws. Imported only if S3 is configured."""

import dagster as dg
from dagster_aws.s3 import S3Resource

from dino_assets.defs.resources.storage import StorageResource, override
from dino_assets.settings.environment import normalise_endpoint
from dino_assets.settings.records import StorageSettings


class S3StorageResource(StorageResource):
    """An S3 bucket; endpoint and credentials come from dagster-aws, else from the environment."""

    s3: dg.ResourceDependency[S3Resource]

    def settings(self) -> StorageSettings:
        """Return the storage's settings with the credentials of the ``s3`` resource."""
        endpoint = self.s3.endpoint_url
        return override(
            super().settings(),
            endpoint=normalise_endpoint(endpoint) if endpoint else None,
            region=self.s3.region_name,
            access_key=self.s3.aws_access_key_id,
            secret_key=self.s3.aws_secret_access_key,
            session_token=self.s3.aws_session_token,
            profile=self.s3.profile_name,
        )
