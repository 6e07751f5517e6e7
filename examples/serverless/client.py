"""Ask a serverless endpoint for the embedding of a picture; standard library only."""

import argparse
import base64
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path


def embed(image: bytes, url: str, *, key: str = "", timeout_s: float = 120.0) -> list[float]:
    """Send one picture and give its embedding.

    Raises:
        RuntimeError: the endpoint answered with an error; says what it said.
    """
    body = json.dumps({"input": {"image": base64.b64encode(image).decode()}}).encode()
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answered:
            answer = json.load(answered)
    except urllib.error.HTTPError as err:
        raise RuntimeError(f"{url} answered {err.code}: {err.read(500)!r}") from err
    output = answer.get("output") or {}
    if "embedding" not in output:
        raise RuntimeError(str(answer.get("error") or output.get("error") or answer))
    return [float(value) for value in output["embedding"]]


def main() -> int:
    """Print the embedding of a picture as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", type=Path, metavar="IMAGE")
    parser.add_argument(
        "--url",
        default="http://127.0.0.1:8000/runsync",
        help="such as https://api.runpod.ai/v2/ENDPOINT/runsync",
    )
    options = parser.parse_args()
    try:
        # Not an argument: those can be read by everybody on the machine.
        key = os.environ.get("RUNPOD_API_KEY", "")  # noqa: TID251
        print(json.dumps({"embedding": embed(options.image.read_bytes(), options.url, key=key)}))
    except (OSError, RuntimeError) as err:
        print(f"{type(err).__name__}: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
