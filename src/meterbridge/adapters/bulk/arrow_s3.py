"""Arrow's client of S3 as a file system of fsspec, for where s3fs is not installed."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from fsspec.implementations.arrow import ArrowFSWrapper
from pyarrow.fs import S3FileSystem

from meterbridge.adapters.bulk.stores import StoreUnreachable


class ArrowS3(ArrowFSWrapper):  # type: ignore[misc]  # fsspec ships no types
    """Reads ranges from the beginning of a file, too, which fsspec's wrapper takes for a stream."""

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        """Return a range of a file."""
        whole = start is None and end is None
        found: bytes = super().cat_file(path, start, end, **{"seekable": not whole, **options})
        return found


def open_arrow_s3(url: str, options: dict[str, Any]) -> ArrowS3:
    """Open S3 with the options of `pyarrow.fs.S3FileSystem`.

    Raises:
        StoreUnreachable: when it does not take the options.
    """
    try:
        return ArrowS3(S3FileSystem(**options))
    except (TypeError, ValueError, OSError, pa.ArrowException) as error:
        raise StoreUnreachable(
            f"{url} cannot be opened by Arrow's client of S3: {error}; for that of fsspec: pip install s3fs",
            url,
        ) from error
