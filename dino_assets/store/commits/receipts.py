"""Receipts: what a killed writer of an unfinished output need not do again."""

from datetime import UTC, datetime, timedelta

from dino_assets.errors import CorruptObjectError, ObjectNotFoundError
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.protocol import OutputId, Receipt
from dino_assets.store.commits.rereading import read_again
from dino_assets.store.commits.sealing import corrupt, part_fields, read_parts, seal, unseal
from dino_assets.store.objects import ObjectStore

# A part this old may be about to be collected (see collection.MIN_AGE); reusing it renews it.
RENEW_AFTER = timedelta(days=1)


def receipt_prefix(output: OutputId) -> str:
    """Where the receipts of an output live."""
    return f"receipts/{output.asset}/{output.space or '_'}/{output.drop or '_'}/"


def receipt_key(output: OutputId, shard: str) -> str:
    """Where the receipt of one shard lives."""
    return f"{receipt_prefix(output)}{shard}.json"


def write_receipt(store: ObjectStore, receipt: Receipt) -> None:
    """Record that a shard is finished; its parts must be in the store already."""
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
    """Find the receipt of a finished shard, if its parts are still whole; renew old parts.

    Parts are read, not only looked for: whoever commits them vouches for their bytes. Renewing puts
    them again, so that a collection that saw them unreferenced keeps them.
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
        ObjectNotFoundError: there is none.
        CorruptObjectError: as ``parse_receipt``.
    """
    return read_again(lambda: parse_receipt(store.get(key), store=store.url, key=key))


def parse_receipt(data: bytes, *, store: str, key: str) -> Receipt:
    """Read a receipt back.

    Raises:
        CorruptObjectError: not ours, altered since, or of another shard.
    """
    body = unseal(data, store=store, key=key)
    try:
        output = OutputId(body["asset"], body["drop"], body["space"])
        receipt = Receipt(output, body["shard"], read_parts(body), body["facts"])
    except (KeyError, TypeError):
        raise corrupt(store=store, key=key, fault="it is no receipt") from None
    if key != receipt_key(output, receipt.shard):
        raise corrupt(store=store, key=key, fault=f"it is shard {receipt.shard!r} of {output}")
    return receipt
