"""Frozen records that travel between the parts. No behaviour beyond naming and checking."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pyarrow as pa

Family = Literal["dinov2", "dinov2_with_registers", "dinov3_vit"]
PrecisionClass = Literal["half", "fp32", "int8"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Engine = Literal["auto", "openvino", "torch", "onnxruntime"]
EmbeddingColumn = Literal["cls", "mean"]
PlaceQuality = Literal["ortho", "rtk-nadir", "gps-nadir", "oblique", "none"]

# --- settings -------------------------------------------------------------------------------


@dataclass(frozen=True)
class StorageSettings:
    """Where results live and how to get in. Secrets stay out of ``repr``."""

    url: str
    root: Path
    endpoint: str | None = None
    region: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    profile: str | None = None
    azure_connection_string: str | None = field(default=None, repr=False)
    # Which variable each secret comes from, for who shows names instead of values (the UI).
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """Everything the environment and ``.env`` may say, read once."""

    root: Path
    storage: StorageSettings
    model: str
    inbox: str
    device: str
    model_revision: str | None = None
    image_roots: tuple[Path, ...] = ()  # a list may name files in these folders too


@dataclass(frozen=True)
class ComputeSettings:
    """What computes and how; 0 threads and batch 0 mean: choose."""

    device: Device = "auto"
    threads: int = 0
    precision: PrecisionClass = "half"
    engine: Engine = "auto"
    batch: int = 0
    processes: int = 0  # at once, one per device; 0: every device there is


@dataclass(frozen=True)
class EmbeddingOptions:
    """What of a tile's tokens is stored, and how."""

    columns: tuple[EmbeddingColumn, ...] = ("cls",)
    dtype: Literal["fp16", "fp32"] = "fp16"
    with_patches: bool = False


# --- the commit protocol --------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class OutputId:
    """Names one output: an asset, for one drop or for all, in one embedding space or in none."""

    asset: str
    drop: str | None = None
    space: str | None = None

    def __str__(self) -> str:
        """Reads like ``images/flight-1``; the space follows an ``@``."""
        name = f"{self.asset}/{self.drop}" if self.drop else self.asset
        return f"{name}@{self.space}" if self.space else name


@dataclass(frozen=True)
class Part:
    """One immutable object, named by its content. ``name`` is set for files, ``rows`` for tables."""

    key: str
    sha256: str
    bytes: int
    rows: int = 0
    name: str | None = None


@dataclass(frozen=True)
class Recipe:
    """All that decides an output, known before it is computed: equal recipes, equal bytes."""

    output: OutputId
    code_version: str
    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """The one object that makes an output exist. Holds no time, host or run, so it can be replayed."""

    recipe: Recipe
    parts: tuple[Part, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of the table, over all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def bytes(self) -> int:
        """Stored bytes, over all parts."""
        return sum(part.bytes for part in self.parts)


@dataclass(frozen=True)
class Receipt:
    """A finished shard of an output that is not committed yet: parts already put, found by ``shard``."""

    output: OutputId
    shard: str
    parts: tuple[Part, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """What a stage learned while producing an output (counts, reasons); kept in the manifest."""

    values: Mapping[str, Any]


@dataclass(frozen=True)
class Spent:
    """What a run took, summed over its threads, and what else it tells the operator; never stored."""

    read_s: float = 0.0
    compute_s: float = 0.0
    told: Mapping[str, Any] = field(default_factory=dict)
    write_s: float = 0.0  # of what the stage stored itself


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine to be stored as it is, under its own name."""

    path: Path
    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class NamedBytes:
    """A small file made in memory (a picture, a page), stored beside a table under its own name."""

    name: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Draft:
    """An output that is not committed: its recipe, and how to produce it if it is needed.

    ``produce`` yields record batches of ``schema``, parts already put, files, facts, and what
    it spent. It may raise CommitRefusedError at any point, even after its last row: nothing is visible before the end.
    """

    recipe: Recipe
    produce: (
        "Callable[[], Iterator[pa.RecordBatch | Part | LocalFile | NamedBytes | Facts | Spent]]"
    )
    schema: "pa.Schema | None" = None


@dataclass(frozen=True)
class Committed:
    """What a commit did. ``seconds`` passed on the clock; the others are summed over threads."""

    manifest: Manifest
    was_reused: bool
    seconds: float = 0.0
    read_s: float = 0.0
    compute_s: float = 0.0
    write_s: float = 0.0
    told: Mapping[str, Any] = field(default_factory=dict)


# --- weights --------------------------------------------------------------------------------


@dataclass(frozen=True)
class CheckpointFile:
    """One file of a checkpoint."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Checkpoint:
    """A validated ViT checkpoint: what it is, where it came from, and the hash of each file."""

    model: str
    revision: str
    weights_sha256: str
    family: Family
    dim: int
    layers: int
    heads: int
    patch_px: int
    registers: int
    parameters: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    statistics_from: str
    licence: str | None
    files: tuple[CheckpointFile, ...]
    caveat: str | None = None  # what everybody who looks at its results must be told
    network: str = ""  # names everything beside the weights that decides what is computed
    # Where it came from, if that is known: a commit of the Hub, or a file of somebody else's layout.
    repo: str | None = None
    commit: str | None = None
    imported_from: str | None = None

    @property
    def label(self) -> str:
        """Its name, with the word that a picture made from it has to carry."""
        return f"{self.model} (random weights)" if self.caveat else self.model

    @property
    def tile_px(self) -> int:
        """The family's tile side: 518 for patch 14, 512 for patch 16."""
        return 518 // self.patch_px * self.patch_px


@dataclass(frozen=True)
class Space:
    """Everything that makes two embeddings comparable."""

    weights_sha256: str
    network: str  # config and statistics
    preprocessing: int
    side_px: int
    layer: int
    precision: PrecisionClass


# --- drops, images, tiles -------------------------------------------------------------------

MAX_IMAGE_SIDE_PX = 99_999  # five digits in a tile id
CELL_PX = 32  # of a mosaic: whether it holds anything is known cell by cell


@dataclass(frozen=True)
class Drop:
    """Images that arrived together: one partition."""

    name: str
    source: str
    fingerprint: str
    original_name: str


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """One file as an inbox lists it. ``refusal`` says why it must not be opened, if so.

    ``label`` and ``metadata`` (a JSON object) are what a list or a class folder says about it.
    """

    path: str
    size: int
    stamp: str
    refusal: str | None = None
    refusal_detail: str = ""
    label: str | None = None
    metadata: str | None = None


@dataclass(frozen=True)
class ImageFacts:
    """What one photograph is, in the upright frame; ``stored_*`` is the frame of the file."""

    image_id: str
    format: str
    mode: str
    width: int
    height: int
    stored_width: int
    stored_height: int
    orientation: int
    note: str | None = None  # what was left out or changed, if anything: "first of 3 pages"


@dataclass(frozen=True)
class Capture:
    """What a camera wrote beside the pixels (XMP before EXIF); None where it says nothing.

    ``taken`` is the camera's local time. Angles in degrees as DJI counts them: yaw clockwise from
    north, pitch -90 straight down.
    """

    taken: datetime | None = None
    utc_offset: str | None = None
    edited_by: str | None = None  # the program that wrote the file anew after it was taken
    satellite_date: date | None = None
    make: str | None = None
    model: str | None = None
    lens: str | None = None
    image_source: str | None = None
    focal_mm: float | None = None
    focal_35mm: float | None = None
    focal_px: float | None = None  # of the frame as it is stored, from calibration, tags or a table
    focal_from: str | None = None
    center_x_px: float | None = None  # principal point in the stored frame; None: the middle
    center_y_px: float | None = None
    latitude: float | None = None
    longitude: float | None = None
    altitude_m: float | None = None
    relative_altitude_m: float | None = None
    gimbal_yaw_deg: float | None = None
    gimbal_pitch_deg: float | None = None
    gimbal_roll_deg: float | None = None
    flight_yaw_deg: float | None = None
    flight_pitch_deg: float | None = None
    flight_roll_deg: float | None = None
    rtk: Literal["fixed", "float", "single"] | None = None


@dataclass(frozen=True)
class View:
    """A camera over flat ground: all that decides where a pixel lies.

    Sizes and the principal point are of the stored frame; pixels are asked for in the upright one,
    which ``orientation`` (EXIF) leads to.
    """

    latitude: float
    longitude: float
    height_m: float
    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    focal_px: float
    center_x_px: float
    center_y_px: float
    width: int
    height: int
    orientation: int = 1
    is_rtk: bool = False


@dataclass(frozen=True)
class Georeference:
    """Where a mosaic lies: its coordinate system (WKT or EPSG:n) and x, y of a pixel (affine a…f)."""

    crs: str
    transform: tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class PixelScores:
    """How a picture came out. ``exposure_ev`` is 0 at middle gray; shares are of all pixels."""

    sharpness: float
    exposure_ev: float
    dark_share: float
    bright_share: float
    look: bytes  # 256 bits; near duplicates differ in few of them
    thumb: bytes  # WebP


@dataclass(frozen=True)
class TileGrid:
    """How images are cut: side and step in px, and the version of the rules.

    With ``side_m`` a tile shows that much ground, whatever the height: its window is scaled to
    ``side_px`` after it is cut.
    """

    side_px: int
    overlap: float
    whole_max_px: int
    version: int
    side_m: float | None = None


@dataclass(frozen=True)
class Verdict:
    """One drop's (or table's) answer to one question."""

    subject: str
    passed: bool
    sentence: str
    warns: bool = False
