"""A project from Python: its drops, tables, vectors, rounds and checkpoint, read from the store."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dino_assets.drops.registry import find_drops, find_name
from dino_assets.errors import ConfigError, NotCommittedError
from dino_assets.settings.environment import find_cache, find_root, load_settings
from dino_assets.settings.project import check_project
from dino_assets.settings.records import Settings
from dino_assets.store.commits.catalogue import CATALOGUE
from dino_assets.store.commits.listing import list_spaces
from dino_assets.store.commits.manifests import find_manifest
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.objects import ObjectStore, describe_missing_store, open_store

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from dino_assets.embeddings.space import EmbeddingColumn
    from dino_assets.embeddings.stage.duplicates import NearDuplicates
    from dino_assets.embeddings.stage.finding import SimilarTiles
    from dino_assets.embeddings.stage.queries import Query
    from dino_assets.selections.stage.listing import ListedRound

# Weights and deployments are files, not tables.
_TABLES = {asset.name: asset for asset in CATALOGUE if asset.name not in ("weights", "deployments")}


@dataclass(frozen=True, eq=False)
class TileVectors:
    """Vectors of tiles, with the tiles' ids and drops in the same order.

    >>> import dino_assets as da
    >>> vectors = da.open_project().vectors("my-flight")
    >>> len(vectors.tile_ids) == len(vectors.matrix) == 48
    True
    """

    matrix: "NDArray[np.float32]"  # (N, D)
    tile_ids: tuple[str, ...]
    drops: tuple[str, ...]
    space: str


@dataclass(frozen=True)
class Project:
    """A project's settings and store, for reading. ``open_project`` makes it.

    >>> import dino_assets as da
    >>> project = da.open_project()
    >>> project.table("tiles").read("my-flight").num_rows
    48
    """

    settings: Settings
    store: ObjectStore

    @property
    def drops(self) -> tuple[str, ...]:
        """Names of the registered drops, sorted, including retired drops."""
        return tuple(sorted(find_drops(self.store)))

    def table(self, asset: str, *, space: str | None = None) -> CommittedTable:
        """Open the committed table of an asset; rows are read on demand.

        ``space`` chooses one of several embedding spaces.

        >>> import dino_assets as da
        >>> da.open_project().table("images").drops
        ('my-flight',)

        Raises:
            ConfigError: no table has this name. Or ``space`` is wrong: unknown, given for an asset without
                spaces, or missing although several spaces exist.
        """
        if asset not in _TABLES:
            raise ConfigError(
                f"no table is called {asset!r}. Give one of {', '.join(_TABLES)}.",
                setting="asset",
                value=asset,
            )
        if _TABLES[asset].in_space:
            space = self._choose_space(asset, space)
        elif space is not None:
            raise ConfigError(
                f"{asset} does not depend on a space; omit space={space!r}",
                setting="space",
                value=space,
            )
        return open_table(self.store, asset, space=space)

    def spaces(self, asset: str = "embeddings") -> tuple[str, ...]:
        """List the embedding spaces in which an asset has outputs.

        >>> import dino_assets as da
        >>> len(da.open_project().spaces())
        1
        """
        return tuple(list_spaces(self.store, asset))

    def vectors(
        self, *drops: str, column: "EmbeddingColumn" = "cls", space: str | None = None
    ) -> TileVectors:
        """Read the vectors of the named drops into one matrix; without names, those of all drops.

        >>> import dino_assets as da
        >>> da.open_project().vectors("my-flight").matrix.shape
        (48, 64)

        Raises:
            NotCommittedError: a named drop has no embeddings in this space.
            ConfigError: a drop was embedded without ``column``. Or ``space`` is wrong: unknown, or missing
                although several spaces exist.
        """
        from dino_assets.embeddings.stage.pool import read_pool

        table = self.table("embeddings", space=space)
        if drops:
            names = [find_name(self.store, drop) for drop in drops]
            table = replace(table, manifests=tuple(table.manifest(name) for name in names))
        pool = read_pool(table, column)
        assert table.space is not None
        return TileVectors(pool.vectors, tuple(pool.tile_ids), tuple(pool.drops), table.space)

    def find(
        self,
        query: "Query",
        count: int = 50,
        *,
        drops: Sequence[str] = (),
        unlike: "Sequence[Query]" = (),
        column: "EmbeddingColumn" = "cls",
        space: str | None = None,
        all_windows: bool = False,
        regions: bool = False,
    ) -> "SimilarTiles":
        """Find the tiles that are most similar to a query, by exact cosines.

        The query is a tile's id, a vector (an array, or the name of a .npy file), or a picture, which is
        embedded as the tiles were; ``photo.jpg:x,y,w,h`` is a window of a picture. A tile that is more
        similar to one of ``unlike`` than to the query is left out. The vectors are read from copies in the
        project's folder ``.cache``, which the first search makes. If windows overlap, or pictures show the
        same ground, only the most similar tile is returned, unless ``all_windows``. ``drops`` are the names
        of drops that are searched; without names, all drops that are not retired. With ``regions``, the
        stored regions of the tiles are searched, for objects much smaller than a tile.

        >>> import dino_assets as da
        >>> project = da.open_project()
        >>> vectors = project.vectors("my-flight")
        >>> similar = project.find(vectors.matrix[0], 3)
        >>> similar.tiles[0].tile_id == vectors.tile_ids[0], len(similar.tiles)
        (True, 3)

        Raises:
            ConfigError: the query is neither a file nor a tile, a picture would be embedded in another space, a
                drop does not exist, or a setting is invalid.
            InvalidVectorsError: a vector is not finite, or has another number of dimensions than the tiles.
            NotCommittedError: nothing is embedded in this space.
        """
        from dino_assets.api.finding import open_with_copies, read_query
        from dino_assets.embeddings.regions import REGIONS
        from dino_assets.embeddings.stage.finding import TileQuery, find_tiles
        from dino_assets.embeddings.stage.pool import choose_pool

        table = open_with_copies(self, "embeddings", space=space)
        stored_column = REGIONS if regions else column
        searched = read_query(self, table, query, stored_column)
        others = [read_query(self, table, each, stored_column) for each in unlike]
        tile_query = TileQuery(
            searched.vector,
            count,
            column=column,
            unlike=tuple(other.vector for other in others),
            without=frozenset(filter(None, (each.tile_id for each in (searched, *others)))),
            all_windows=all_windows,
            regions=regions,
        )
        tiles = open_with_copies(self, "tiles")
        return find_tiles(choose_pool(table, drops=drops), tiles, tile_query)

    def duplicates(
        self,
        cosine: float = 0.98,
        *,
        drops: Sequence[str] = (),
        column: "EmbeddingColumn" = "cls",
        space: str | None = None,
    ) -> "NearDuplicates":
        """Find the tiles whose cosine with an earlier tile is at least ``cosine``, with the cause.

        The cause is ``same file`` if the picture is in two drops. It is ``same ground`` if the tiles overlap
        in a picture, or if two photographs show the place. Otherwise it is ``elsewhere``. ``drops`` are the
        names of drops that are compared; without names, all drops that are not retired.

        >>> import dino_assets as da
        >>> near = da.open_project().duplicates()
        >>> near.tiles, sum(near.count_causes().values()) == len(near.table)
        (48, True)

        Raises:
            ConfigError: a drop does not exist, or a setting is invalid.
            NotCommittedError: nothing is embedded in this space.
        """
        from dino_assets.embeddings.stage.duplicates import find_near_duplicates
        from dino_assets.embeddings.stage.pool import choose_pool

        pool = choose_pool(self.table("embeddings", space=space), drops=drops)
        return find_near_duplicates(pool, self.table("tiles"), column=column, least=cosine)

    @property
    def rounds(self) -> "Sequence[ListedRound]":
        """The rounds of all spaces, with the number of tiles from each drop."""
        from dino_assets.selections.stage.listing import list_rounds

        return tuple(list_rounds(self.store))

    def round(self, name: str, *, space: str | None = None) -> "pa.Table":
        """Read the tiles of a round, in the order of their rank.

        >>> import dino_assets as da
        >>> da.open_project().round("round-0001").column_names[:2]
        ['round', 'rank']

        Raises:
            NotCommittedError: the round does not exist.
        """
        return self.table("selections", space=space).read(name)

    def map(self, *, space: str | None = None) -> "pa.Table":
        """Read the map: a row per tile with its place in two dimensions.

        >>> import dino_assets as da
        >>> da.open_project().map().num_rows
        48

        Raises:
            NotCommittedError: no map has been made.
        """
        return self.table("projections", space=space).read()

    def checkpoint(self) -> Path:
        """Copy the stored weights into a folder on this machine, and return the folder.

        >>> import dino_assets as da
        >>> (da.open_project().checkpoint() / "config.json").is_file()
        True

        Raises:
            NotCommittedError: no weights have been stored.
            ChecksumError: the stored files are damaged.
        """
        from dino_assets.weights.stage import OUTPUT, checkpoint_folder

        stored = find_manifest(self.store, OUTPUT)
        if stored is None:
            raise NotCommittedError(
                f"store {self.store.url!r} holds no weights. Run `dino-assets run NAME` first.",
                output=str(OUTPUT),
            )
        return checkpoint_folder(self.store, stored, cache=find_cache(self.settings.root))

    def _choose_space(self, asset: str, space: str | None) -> str | None:
        spaces = self.spaces(asset)
        if space is None and len(spaces) > 1:
            raise ConfigError(
                f"{asset} has outputs in {len(spaces)} spaces: {', '.join(spaces)}. Give one, for example "
                f"space={spaces[0]!r}",
                setting="space",
                value=None,
            )
        if space is not None and spaces and space not in spaces:
            raise ConfigError(
                f"{asset} has no output in the space {space!r}. Give one of {', '.join(spaces)}",
                setting="space",
                value=space,
            )
        return space if space is not None else (spaces[0] if spaces else None)


def open_project(root: str | Path | None = None) -> Project:
    """Open the project that contains the folder ``root``, by default the current folder.

    Nothing is written, but for the copies that ``Project.find`` reads from.

    >>> import dino_assets as da
    >>> da.open_project().drops
    ('my-flight',)

    Raises:
        ConfigError: the folder is not in a project, or a setting is invalid.
        NotCommittedError: nothing has been stored yet.
    """
    settings = load_settings(find_root(Path(root) if root is not None else None))
    check_project(settings)
    store = open_store(settings.storage)
    if not store.is_there:
        raise NotCommittedError(
            f"{describe_missing_store(store)} To process a flight: `dino-assets run NAME --from FOLDER`.",
            reason="no-store",
        )
    return Project(settings, store)
