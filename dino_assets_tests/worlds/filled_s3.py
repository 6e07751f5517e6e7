"""A program: a moto server whose bucket holds a folder's files; putting 40,000 of them one by one takes minutes.

Called with a host, a port, a folder, a bucket and a prefix; imports nothing of ours.
"""

import sys
from pathlib import Path

from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

if __name__ == "__main__":
    host, port, folder, bucket, prefix = sys.argv[1:]
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    backend.create_bucket(bucket, "us-east-1")
    for path in Path(folder).rglob("*"):
        if path.is_file():
            key = f"{prefix}/{path.relative_to(folder).as_posix()}"
            backend.put_object(bucket, key, path.read_bytes())
    app = DomainDispatcherApplication(create_backend_app)
    run_simple(host, int(port), app, threaded=True)
