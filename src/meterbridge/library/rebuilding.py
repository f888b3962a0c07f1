"""A lost ledger, put back from its segments, its seals and its statements."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from meterbridge.domain.errors import BadSignature
from meterbridge.library.workspace import NoLedger

if TYPE_CHECKING:
    from meterbridge.adapters.chain import SplitterClient
    from meterbridge.domain.addresses import Address
    from meterbridge.domain.statements import SignedStatement
    from meterbridge.services.ports import Segments
    from meterbridge.services.recovery import RebuildReport


def rebuild_folder(
    folder: Path,
    statements: Sequence[SignedStatement],
    *,
    signers: Collection[Address] = (),
    chain: SplitterClient | None = None,
) -> RebuildReport:
    """Put back into a folder's ledger what its segments and these statements hold and it has lost.

    Args:
        folder: the ledger folder; its database may be missing, damaged copies set aside, or older.
        statements: those that were ever signed, in any order.
        signers: whose statements are taken.
        chain: the contract: takes those as well whom it lets sign, and asks contract signers.

    Raises:
        NoLedger: when the folder has no segments.
        BadSignature, NotOnChain: when a statement is by nobody who may sign.
        BadSegment, Conflict, HeadDoesNotExtend: as `services.recovery.rebuild`.
    """
    from meterbridge.adapters.bulk.folder import open_bulk
    from meterbridge.adapters.bulk.restoring import LostSeals
    from meterbridge.adapters.ledger import SEGMENTS_NAME
    from meterbridge.adapters.segments import FolderSegments
    from meterbridge.services.recovery import rebuild

    path = folder / SEGMENTS_NAME
    segments = FolderSegments(path)
    if not any(True for _ in segments.tariffs()):
        raise NoLedger(f"{path} holds no tariff: there is nothing to rebuild from", str(path))
    allowed = {*signers, *_authorised(segments, statements, signers, chain)}
    with open_bulk(folder) as opened:
        ledger = opened.ledger
        return rebuild(
            ledger, segments, statements, lambda: LostSeals(ledger, path), signers=allowed, contracts=chain
        )


def _authorised(
    segments: Segments,
    statements: Sequence[SignedStatement],
    named: Collection[Address],
    chain: SplitterClient | None,
) -> set[Address]:
    """Return who signed and was not named, after asking the contract about each of their statements."""
    from meterbridge.services.confirming import require_authorised

    others = [signed for signed in statements if signed.signer not in named]
    if others and chain is None:
        raise BadSignature(
            f"nobody says that {others[0].signer} may sign: name the meter with --signer, or ask the "
            "contract with --rpc",
            str(others[0].signer),
        )
    providers = {record.id: record.tariff.provider for record in segments.tariffs()}
    for signed in others:
        provider = providers.get(signed.statement.tariff_id)
        if chain is not None and provider is not None:
            require_authorised(chain, provider, signed.signer, signed.statement.sealed_at)
    return {signed.signer for signed in others if signed.statement.tariff_id in providers}
