"""Dagster definitions: all assets, checks, jobs, sensors, schedules and resources, in lineage order."""

from importlib import import_module
from typing import Any, cast, get_args

import dagster as dg

from dino_assets.compute.settings import Device
from dino_assets.defs import checks, learning_checks
from dino_assets.defs.assets.deployments import deployments
from dino_assets.defs.assets.embeddings import embeddings
from dino_assets.defs.assets.heat_maps import heat_maps
from dino_assets.defs.assets.images import images
from dino_assets.defs.assets.inbox import inbox
from dino_assets.defs.assets.label_exports import label_exports
from dino_assets.defs.assets.label_versions import label_versions
from dino_assets.defs.assets.labels import labels
from dino_assets.defs.assets.learning_curve import learning_curve
from dino_assets.defs.assets.probes import probes
from dino_assets.defs.assets.projections import projections
from dino_assets.defs.assets.selections import selections
from dino_assets.defs.assets.tiles import tiles
from dino_assets.defs.assets.weights import weights
from dino_assets.defs.io_manager import CommittingIOManager
from dino_assets.defs.jobs import ALL_JOBS
from dino_assets.defs.recording import record_processes
from dino_assets.defs.resources.compute import ComputeResource
from dino_assets.defs.resources.hub import HubResource
from dino_assets.defs.resources.inbox import InboxResource
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.defs.schedules import ALL_SCHEDULES
from dino_assets.defs.sensors import ALL_SENSORS
from dino_assets.errors import ConfigError, MissingExtraError
from dino_assets.settings.choices import check_word
from dino_assets.settings.environment import is_in_environment, load_settings
from dino_assets.settings.records import Settings
from dino_assets.settings.urls import find_scheme

ALL_CHECKS: list[dg.AssetChecksDefinition] = [
    checks.flights_are_recent,
    checks.weights_are_whole,
    checks.images_are_usable,
    checks.images_are_complete,
    checks.images_look_right,
    checks.tiles_cover_images,
    checks.embeddings_match_tiles,
    checks.embeddings_are_familiar,
    checks.projections_are_complete,
    checks.map_is_current,
    checks.selections_are_sound,
    learning_checks.labels_are_agreed,
    learning_checks.exports_read_back,
    learning_checks.versions_are_whole,
    learning_checks.probes_are_sound,
    learning_checks.strategy_beats_random,
    checks.deployments_are_whole,
]

# By default a run has one process. In a process of its own, each step would import torch again and take
# 6 s of CPU, not 0.02.
EXECUTORS = {"in_process": dg.in_process_executor, "multiprocess": dg.multiprocess_executor}

# Our names of an S3 store's secrets → dagster-aws' names.
S3_SECRETS = {
    "access_key": "aws_access_key_id",
    "secret_key": "aws_secret_access_key",
    "session_token": "aws_session_token",
}


def make_resources(settings: Settings) -> dict[str, Any]:
    """Make all Dagster resources; return them by the names that the assets use.

    Raises:
        ConfigError: the configured device is not a known name.
    """
    check_word("DINO_DEVICE", settings.device, get_args(Device))
    storage, s3 = make_storage(settings)
    resources = {
        "storage": storage,
        "compute": ComputeResource(device=cast("Device", settings.device)),
        "inbox": InboxResource(url=settings.inbox, flight_days=settings.flight_days),
        "hub": HubResource(model=settings.model, revision=settings.model_revision),
        "io_manager": CommittingIOManager(storage=storage),
    }
    return resources | ({"s3": s3} if s3 else {})


def make_storage(settings: Settings) -> tuple[StorageResource, Any]:
    """Make the ``storage`` resource for the configured address, and the ``s3`` resource that it needs.

    The second is None if the store is not on S3.

    Raises:
        MissingExtraError: the store is on S3, and the extra ``s3`` is not installed.
    """
    where = settings.storage
    scheme = find_scheme(where.url)
    if scheme is None or scheme.backend != "s3":
        return StorageResource(url=where.url), None
    try:
        from dagster_aws.s3 import S3Resource
    except ImportError as err:
        raise MissingExtraError(f"Storage {where.url!r}", extra="s3") from err
    from dino_assets.defs.resources.s3 import S3StorageResource

    # Secrets stay names of variables. An EnvVar that is not set fails at run time, so only variables that are
    # set are named. Other values (from .env, or default credentials) are read from settings.environment when
    # the store is opened.
    secrets: dict[str, Any] = {
        S3_SECRETS[secret]: dg.EnvVar(variable)
        for secret, variable in where.variables.items()
        if is_in_environment(variable)
    }
    s3 = S3Resource(endpoint_url=where.endpoint, region_name=where.region, **secrets)
    return S3StorageResource(url=where.url, s3=s3), s3


def make_executor(settings: Settings) -> dg.ExecutorDefinition:
    """Find the executor for the steps of a run: in_process, multiprocess, or an installed ``module:name``.

    Raises:
        ConfigError: there is no executor of that name.
    """
    word = settings.executor
    if word in EXECUTORS:
        return EXECUTORS[word]
    module, mark, name = word.partition(":")
    try:
        named = getattr(import_module(module), name) if mark and module else None
    except (ImportError, AttributeError):
        named = None
    if isinstance(named, dg.ExecutorDefinition):
        return named
    raise ConfigError(
        f"DINO_EXECUTOR={word!r} is not the name of an executor. Expected {', '.join(EXECUTORS)}, or "
        f"module:name of an "
        "installed one, such as dagster_k8s:k8s_job_executor.",
        setting="DINO_EXECUTOR",
        value=word,
        reason="no-executor",
    )


def make_definitions(settings: Settings) -> dg.Definitions:
    """Make all definitions for one configuration."""
    return dg.Definitions(
        assets=[
            inbox,
            weights,
            images,
            tiles,
            embeddings,
            projections,
            selections,
            labels,
            probes,
            learning_curve,
            heat_maps,
            label_exports,
            label_versions,
            deployments,
        ],
        asset_checks=ALL_CHECKS,
        jobs=ALL_JOBS,
        sensors=ALL_SENSORS,
        schedules=ALL_SCHEDULES,
        resources=make_resources(settings),
        executor=make_executor(settings),
    )


# Every process that executes a run loads this module first.
record_processes()
defs = make_definitions(load_settings())
