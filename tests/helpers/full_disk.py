"""A disk that is full, for tests: files longer than a limit can't be written."""

import contextlib
from collections.abc import Iterator

import pytest

resource = pytest.importorskip("resource", reason="only POSIX systems limit the length of files")


@contextlib.contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """Inside, writing beyond so many bytes of a file raises OSError (EFBIG).

    A write over the limit first takes what there is room for, as on a disk that gets full.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
