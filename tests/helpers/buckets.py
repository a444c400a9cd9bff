"""A server of this process that speaks S3's protocol."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def serving(bucket: str) -> Iterator[Any]:
    """Serve one empty bucket; yield its files. Servers of one process share buckets, so each needs its own name."""
    moto, s3fs = pytest.importorskip("moto.server"), pytest.importorskip("s3fs")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "x"), ("DEFAULT_REGION", "us-east-1")):
            patch.setenv(f"AWS_{name}", value)
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        server = moto.ThreadedMotoServer("127.0.0.1", port)
        server.start()
        s3fs.S3FileSystem.clear_instance_cache()  # which knows the address of the server before
        try:
            files = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
            files.mkdir(bucket)
            yield files
        finally:
            server.stop()
            s3fs.S3FileSystem.clear_instance_cache()
