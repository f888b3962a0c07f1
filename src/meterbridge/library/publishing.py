"""A split and a tariff, published on chain, with a ledger for them: what a provider does once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import BadTariff

if TYPE_CHECKING:
    from meterbridge.adapters.chain import SplitterClient
    from meterbridge.domain.splits import Party
    from meterbridge.domain.statements import Domain
    from meterbridge.library.workspace import Workspace
    from meterbridge.services.records import TariffRecord


def tariff_record(
    domain: Domain,
    provider: Address,
    asset: Address,
    parties: Sequence[Party],
    terms: Mapping[str, object],
    *,
    scale: int,
    thaw_period: int,
) -> TariffRecord:
    """Return a tariff with all behind it; nothing is published yet.

    Raises:
        BadTariff, BadSplit: when the document, a price or a share cannot be used.
    """
    from meterbridge.domain.splits import PartyTable
    from meterbridge.domain.tariffs import terms_document
    from meterbridge.domain.terms import tariff_from_document
    from meterbridge.services.records import TariffRecord

    table = PartyTable(parties)
    split = table.split(asset)
    tariff = tariff_from_document(terms, provider, split.id, scale, thaw_period)
    return TariffRecord(domain, tariff, split, table.parties, terms_document(terms))


def publish(client: SplitterClient, opened: Workspace, record: TariffRecord) -> None:
    """Publish a split and a tariff and keep them in a ledger; doing so again changes nothing.

    Raises:
        BadTariff: when the document's decimals are not the token's, so that every price would be wrong.
    """
    if record.id not in {known.id for known in opened.ledger.tariffs()}:
        require_decimals(client, record)
        client.publish_split(record.split, record.parties)
        client.publish_tariff(record.tariff, record.document)
    opened.ledger.add_tariff(record)
    opened.segments.put_tariff(record)


def require_decimals(client: SplitterClient, record: TariffRecord) -> None:
    """Check that the document means the token's own base units.

    Raises:
        BadTariff: naming both numbers.
    """
    from meterbridge.library.connecting import token_of

    terms, asset = record.terms(), record.split.asset
    found = token_of(client, asset).decimals
    if found != terms.decimals:
        raise BadTariff(
            f"the document gives {terms.symbol} {terms.decimals} decimals and token {asset} has {found}: "
            "every price would be wrong by powers of ten",
            terms.decimals,
        )
