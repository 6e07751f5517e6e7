"""``DINOv2Extractor``: embeddings of whole pictures, computed by the engines of the Dagster assets."""

import copy
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from dino_assets.api import image_files
from dino_assets.api.constants import DEFAULT_BATCH_SIZE, DEFAULT_NUM_WORKERS, IMAGE_SIZE
from dino_assets.api.embedding_files import save_embeddings
from dino_assets.api.given_pictures import check_batch, to_picture, to_tiles
from dino_assets.api.image_files import IMAGE_COL, ImageFiles
from dino_assets.api.left_out import warn_left_out
from dino_assets.api.models import Engines, open_model, resolve_devices
from dino_assets.api.progress import showing_bar
from dino_assets.compute.settings import PrecisionClass
from dino_assets.compute.threads import one_torch_thread
from dino_assets.embeddings.encoder.tokens import TokenName, Vectors
from dino_assets.embeddings.run.embed_images import PictureResult, embed_prepared
from dino_assets.embeddings.run.pictures import Prepared, prepare_picture
from dino_assets.embeddings.space import make_space, name_space
from dino_assets.errors import UnusableImageError
from dino_assets.settings.choices import check_range
from dino_assets.weights.records import facts_of_caveat

if TYPE_CHECKING:
    from torch import Tensor


class DINOv2Extractor:
    """Extractor of one embedding per picture: the CLS token, in which the model sums up a whole picture.

    Each picture is scaled to ``image_size`` × ``image_size`` pixels. ``model_name`` is a checkpoint folder, a
    Hub repository or a short name (``dinov2-small``, ``dinov3-vitl16``). ``device`` is auto, cpu, cuda,
    cuda:1, mps, or a list of these. A GPU computes ``batch_size`` pictures at a time, each CPU core one.
    ``num_workers`` threads read and decode the next pictures meanwhile.

    ``precision`` is fp32, or half for the fastest engine whose results agree with PyTorch's in float32.
    ``progress``: True shows bars, False shows none, None shows bars on a terminal only. ``revision`` is a
    branch, tag or commit of a Hub repository.

    A subclass may override ``extract_batch``. Then it receives every batch of ``batch_size`` pictures, in
    order and in the caller's thread.

    >>> from dino_assets import DINOv2Extractor
    >>> extractor = DINOv2Extractor("dinov2-small", progress=False)
    >>> tuple(extractor.extract_single("photo.jpg").shape) == (extractor.dim,)
    True
    """

    opens_first = True  # open the engine before reading pictures

    def __init__(
        self,
        model_name: str = "facebook/dinov2-base",
        device: "str | Sequence[str] | None" = "auto",
        batch_size: int = DEFAULT_BATCH_SIZE,
        num_workers: int = DEFAULT_NUM_WORKERS,
        *,
        precision: PrecisionClass = "half",
        image_size: int = IMAGE_SIZE,
        progress: bool | None = None,
        revision: str | None = None,
    ) -> None:
        """Find or fetch the model, and check all arguments; engines are built on first use.

        Raises:
            CheckpointNotFoundError: the model cannot be found or fetched; the message lists short names.
            DeviceUnavailableError: this machine does not have a device.
            ConfigError: another argument is invalid.
        """
        check_range("batch_size", batch_size, least=1)
        check_range("num_workers", num_workers, least=0)
        self.model_name = model_name
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.precision = precision
        self.image_size = image_size
        self.progress = progress
        self._computes = resolve_devices(device, precision=precision, batch_size=batch_size)
        self.device = ",".join(compute.device for compute in self._computes)
        self._model = open_model(model_name, revision=revision, progress=progress)
        self._opened: dict[tuple[int, tuple[TokenName, ...]], Engines] = {}
        self._engines()  # raises now if image_size is not a multiple of the patch

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self._model.checkpoint.dim

    @property
    def patch_size(self) -> int:
        """Side of the model's patches, in pixels; ``image_size`` is a multiple of it."""
        return self._model.checkpoint.patch_px

    @property
    def space(self) -> str:
        """The id of the space. Vectors of one space can be compared, whether of pictures or of tiles."""
        (compute, *_), checkpoint = self._computes, self._model.checkpoint
        return name_space(make_space(checkpoint, compute, side_px=self.image_size))

    def extract_from_directory(
        self, directory: str | Path, pattern: str = "*.jpg"
    ) -> "tuple[Tensor, list[str]]":
        """Embed the pictures below a directory; return embeddings (N, d) and their ids.

        Subfolders are included. ``pattern`` is compared with file names, or with paths below the directory
        if it has a slash; upper and lower case are equal. Ids are the paths below the directory, sorted. An
        unusable picture is left out with a warning.

        Raises:
            SourceError: the directory does not exist, or cannot be listed.
            ConfigError: no file matches; the message lists the file endings in the directory.
        """
        return self._extract(image_files.find_in_directory(directory, [pattern]))

    def extract_from_csv(
        self, csv_path: str | Path, image_col: str = IMAGE_COL
    ) -> "tuple[Tensor, list[str]]":
        """Embed the pictures listed in a CSV; return embeddings (N, d) and the paths as written in the CSV.

        Relative paths are looked up in the CSV's folder, then in the working directory. An unusable
        picture is left out with a warning.

        Raises:
            SourceError: the file cannot be read, or lacks the column; the message lists its columns.
        """
        return self._extract(image_files.read_image_list(csv_path, image_col))

    def extract_from_list(self, image_paths: Iterable[str | Path]) -> "tuple[Tensor, list[str]]":
        """Embed pictures by their paths; return embeddings (N, d) and the paths as given.

        An unusable picture is left out with a warning.

        Raises:
            ConfigError: an entry is not a path.
        """
        return self._extract(image_files.name_paths(image_paths))

    def extract_in_chunks(
        self, images: Any, chunk_size: int = 10_000
    ) -> "Iterator[tuple[Tensor, list[str]]]":
        """Embed any number of pictures; yield the embeddings and ids of ``chunk_size`` pictures at a time.

        Memory does not grow with the number of pictures. ``images`` is a folder, a CSV or text list, several
        paths, or a DataFrame with the column ``image_path``.

        Raises:
            SourceError, ConfigError: there are no pictures, or the list cannot be read.
        """
        import torch

        for matrix, ids in self.extract_arrays(images, chunk_size):
            yield torch.from_numpy(matrix), ids

    def extract_arrays(
        self, images: Any, chunk_size: int = 10_000
    ) -> Iterator[tuple[NDArray[np.float32], list[str]]]:
        """Embed like ``extract_in_chunks``, into NumPy arrays; load PyTorch only if the engine needs it.

        Raises:
            SourceError, ConfigError: there are no pictures, or the list cannot be read.
        """
        check_range("chunk_size", chunk_size, least=1)
        files = image_files.find_images(images)
        with self.showing_progress(len(files)) as count:
            for piece in files.split(chunk_size):
                yield self._collect(piece, count)

    def extract_single(self, image: Any) -> "Tensor":
        """Embed one picture; return its embedding (d,).

        ``image`` is a path, bytes, an open file, a Pillow image, an array or a tensor.

        Raises:
            UnusableImageError: ``image`` is not a usable picture.
        """
        import torch

        prepared = self._prepare(image)
        if prepared.refusal is not None:
            raise prepared.refusal
        if prepared.vector is None:
            assert prepared.tile is not None
            vectors = self._pass_through(np.stack([prepared.tile]))
            self._keep(PictureResult(vectors[0], key=prepared.key, is_new=True))
            return torch.from_numpy(vectors[0])
        return torch.from_numpy(prepared.vector)

    def extract_batch(self, batch: Any) -> "Tensor":
        """Embed a batch of pictures; return embeddings (B, d).

        ``batch`` is a tensor (B, 3, H, W), an array (B, H, W, 3), or a list of pictures. Pixels are uint8, or
        floats 0 … 1. Pictures of another size are scaled. A subclass that overrides this method receives
        uint8 tensors (B, 3, image_size, image_size).

        Raises:
            UnusableImageError: an item is not a usable picture.
            ConfigError: ``batch`` is not a batch, for example a single picture.
        """
        import torch

        tiles = self._to_tiles(batch)
        with one_torch_thread():
            return torch.from_numpy(self._engines().encode_all(tiles)["cls"])

    def extract_patches(self, batch: Any) -> "Tensor":
        """Embed the patches of a batch of pictures; return (B, P, d), a picture's patches row by row.

        CLS and register tokens are left out. ``batch`` is as for ``extract_batch``.

        Raises:
            UnusableImageError: an item is not a usable picture.
            ConfigError: ``batch`` is not a batch, for example a single picture.
        """
        import torch

        tiles = self._to_tiles(batch)
        with one_torch_thread():
            return torch.from_numpy(self._engines(("patches",)).encode_all(tiles)["patches"])

    def save_embeddings(
        self,
        embeddings: "Tensor | NDArray[np.float32]",
        image_ids: Sequence[str],
        output_path: str | Path,
    ) -> Path:
        """Save embeddings and ids with the model's name, a timestamp and the facts of ``describe()``.

        The ending of ``output_path`` chooses the format, as in ``dino_assets.save_embeddings``. Return the
        path.

        Raises:
            ConfigError: the number of ids differs from the number of embeddings.
            TargetError, DiskFullError: the file cannot be written.
        """
        return save_embeddings(
            embeddings,
            image_ids,
            output_path,
            model_name=str(self.model_name),
            metadata=self.describe(),
        )

    def describe(self) -> dict[str, Any]:
        """Describe how embeddings are made, in plain values that ``save_embeddings`` saves as metadata."""
        checkpoint = self._model.checkpoint
        return {
            "dim": checkpoint.dim,
            "pooling": "cls",
            "image_size": self.image_size,
            "precision": self.precision,
            "space": self.space,
            "weights_sha256": checkpoint.weights_sha256,
            "revision": checkpoint.revision,
            **({"engine": engine} if (engine := self._engines().name) else {}),
            **facts_of_caveat(checkpoint.caveat),
        }

    def showing_progress(self, total: int) -> AbstractContextManager[Callable[[], object]]:
        """Show a progress bar; yield a function that counts one more picture.

        A subclass may override this method.
        """
        return showing_bar("embedding", total=total, unit="image", progress=self.progress)

    def leave_out(self, image_id: str, refusal: UnusableImageError) -> None:
        """Warn about a picture that is left out. A subclass may override this."""
        warn_left_out(image_id, refusal)

    def at_size(self, image_size: int) -> Self:
        """Return a copy with another ``image_size``; both share the opened engines.

        Raises:
            ConfigError: ``image_size`` is not a multiple of ``patch_size``.
        """
        other = copy.copy(self)
        other.image_size = image_size
        other._engines()
        return other

    def _engines(self, outputs: tuple[TokenName, ...] = ("cls",)) -> Engines:
        key = self.image_size, outputs
        if key not in self._opened:
            self._opened[key] = Engines(
                self._model, self._computes, side_px=self.image_size, outputs=outputs
            )
        return self._opened[key]

    def _extract(self, files: ImageFiles) -> "tuple[Tensor, list[str]]":
        import torch

        with self.showing_progress(len(files)) as count:
            matrix, ids = self._collect(files, count)
        return torch.from_numpy(matrix), ids

    def _collect(
        self, files: ImageFiles, count: Callable[[], object]
    ) -> tuple[NDArray[np.float32], list[str]]:
        matrix: NDArray[np.float32] | None = None
        ids: list[str] = []
        with closing(self._embed(files.paths)) as embedded:
            for image_id, each in zip(files.ids, embedded, strict=True):
                if each.vector is None:
                    assert each.refusal is not None
                    self.leave_out(image_id, each.refusal)
                else:
                    if matrix is None:  # a subclass may return vectors of another length
                        matrix = np.empty((len(files), len(each.vector)), np.float32)
                    matrix[len(ids)] = each.vector
                    ids.append(image_id)
                    self._keep(each)
                count()
        if matrix is None:
            matrix = np.empty((0, self.dim), np.float32)
        return matrix[: len(ids)], ids

    def _embed(self, paths: Sequence[str]) -> Generator[PictureResult, None, None]:
        engines, readers = self._engines(), max(1, self.num_workers)
        is_own = getattr(self.extract_batch, "__func__", None) is DINOv2Extractor.extract_batch
        with one_torch_thread() if is_own else nullcontext():
            if paths and is_own and self.opens_first:
                engines.open()  # errors of an engine are raised before pictures are read
            yield from embed_prepared(
                paths,
                self._prepare,
                (lambda tiles: engines.encode(tiles)["cls"]) if is_own else self._pass_through,
                batch=engines.batch if is_own else self.batch_size,
                threads=engines.threads if is_own else 0,
                readers=readers,
            )

    def _prepare(self, image: Any) -> Prepared:
        """Read, decode and scale a picture; called in the readers' threads."""
        try:
            return prepare_picture(to_picture(image), side_px=self.image_size)
        except UnusableImageError as err:
            return Prepared(refusal=err)

    def _keep(self, embedded: PictureResult) -> None:
        """Do nothing. CachedExtractor overrides this method to keep the vector for later calls."""

    def _pass_through(self, tiles: NDArray[np.uint8]) -> Vectors:
        """Embed a batch through ``extract_batch``, which a subclass may override."""
        import torch

        vectors = self.extract_batch(torch.from_numpy(tiles).permute(0, 3, 1, 2))
        return torch.as_tensor(vectors).detach().float().cpu().numpy()

    def _to_tiles(self, batch: Any) -> NDArray[np.uint8]:
        check_batch(batch)
        tiles = to_tiles(batch)
        if tiles is not None and tiles.shape[1:3] == (self.image_size, self.image_size):
            return tiles
        ready = [prepare_picture(to_picture(each), side_px=self.image_size) for each in batch]
        for each in ready:
            if each.refusal is not None:
                raise each.refusal
        side = self.image_size
        none = np.empty((0, side, side, 3), np.uint8)
        return np.concatenate([none, *(each.tile[None] for each in ready if each.tile is not None)])
