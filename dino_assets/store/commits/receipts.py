"""Receipts of finished shards, so that a re-run does not compute them again."""

from datetime import UTC, datetime, timedelta

from dino_assets.errors import CorruptObjectError, ObjectNotFoundError
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.protocol import OutputId, Receipt
from dino_assets.store.commits.rereading import read_again
from dino_assets.store.commits.sealing import corrupt, part_fields, read_parts, seal, unseal
from dino_assets.store.objects import ObjectStore

# A part of this age is put again when it is reused: garbage collection deletes unused parts that are older
# than collecting.MIN_AGE.
RENEW_AFTER = timedelta(days=1)


def receipt_prefix(output: OutputId) -> str:
    """Return the prefix of an output's receipts."""
    return f"receipts/{output.asset}/{output.space or '_'}/{output.drop or '_'}/"


def receipt_key(output: OutputId, shard: str) -> str:
    """Return the key of one shard's receipt."""
    return f"{receipt_prefix(output)}{shard}.json"


def write_receipt(store: ObjectStore, receipt: Receipt) -> None:
    """Write the receipt of a finished shard, whose parts must be in the store already."""
    output = receipt.output
    body = {
        "asset": output.asset,
        "drop": output.drop,
        "facts": dict(receipt.facts),
        "parts": part_fields(receipt.parts),
        "shard": receipt.shard,
        "space": output.space,
    }
    store.put(receipt_key(output, receipt.shard), seal(body))


def find_receipt(
    store: ObjectStore, output: OutputId, shard: str, *, renew_after: timedelta = RENEW_AFTER
) -> Receipt | None:
    """Find the receipt of a finished shard; return None if it does not exist or a part is damaged.

    All parts are read, because the commit that reuses them guarantees their bytes. A part older than
    ``renew_after`` is put again: otherwise a garbage collection at the same time might delete it.
    """
    key = receipt_key(output, shard)
    try:
        receipt = read_receipt(store, key)
        for part in receipt.parts:
            data = read_part(store, part)
            if datetime.now(UTC) - store.head(part.key).modified > renew_after:
                store.put(part.key, data)
    except (ObjectNotFoundError, CorruptObjectError):
        return None
    return receipt


def read_receipt(store: ObjectStore, key: str) -> Receipt:
    """Read a receipt by its key.

    Raises:
        ObjectNotFoundError: it does not exist.
        CorruptObjectError: it is not a valid receipt for this key.
    """
    return read_again(lambda: parse_receipt(store.get(key), store=store.url, key=key))


def parse_receipt(data: bytes, *, store: str, key: str) -> Receipt:
    """Parse a receipt.

    Raises:
        CorruptObjectError: it is not a receipt, was altered, or belongs to another shard.
    """
    body = unseal(data, store=store, key=key)
    try:
        output = OutputId(body["asset"], body["drop"], body["space"])
        receipt = Receipt(output, body["shard"], read_parts(body), body["facts"])
    except (KeyError, TypeError):
        raise corrupt(store=store, key=key, fault="it is not a receipt") from None
    if key != receipt_key(output, receipt.shard):
        fault = f"it is the receipt of shard {receipt.shard!r} of {output}"
        raise corrupt(store=store, key=key, fault=fault)
    return receipt
