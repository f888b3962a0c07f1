"""What is followed and guarded, as metrics in Prometheus' text format.

All of it stands in the ledger, so whichever process is asked, the answer is the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from meterbridge.domain.statements import Domain
from meterbridge.domain.units import AssetAmount
from meterbridge.services.following.alerts import Severity
from meterbridge.services.following.guards import FOLLOWING, LEDGER_GUARDS, Guards, Limits
from meterbridge.services.following.watching import WatchedLedger, scope_of

Labels = Mapping[str, str]
Sample = tuple[Labels, int]


def metrics_text(ledger: WatchedLedger, now: int) -> str:
    """Return the metrics of every contract that the ledger has tariffs on."""
    domains = list(dict.fromkeys(record.domain for record in ledger.tariffs()))
    families = (
        ("meterbridge_alerts_open", "Open alerts by guard and severity.", _alerts(ledger, domains)),
        ("meterbridge_alert_notices_waiting", "Notices that no receiver has confirmed.", _notices(ledger)),
        ("meterbridge_followed_block", "Newest block that was followed.", _blocks(ledger, domains)),
        ("meterbridge_followed_final_block", "Newest final block.", _finals(ledger, domains)),
        ("meterbridge_followed_age_seconds", "Age of the newest block.", _ages(ledger, domains, now)),
        ("meterbridge_unsettled_base_units", "Due and not drawn, by tariff.", _unsettled(ledger, domains)),
        ("meterbridge_deliveries", "Statements by state of delivery.", _deliveries(ledger, domains)),
    )
    lines: list[str] = []
    for name, about, samples in families:
        lines += [f"# HELP {name} {about}", f"# TYPE {name} gauge"]
        lines += [f"{name}{_labels(labels)} {value}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _alerts(ledger: WatchedLedger, domains: list[Domain]) -> Iterator[Sample]:
    """Zeros as well: a rule on a metric that is not there never fires."""
    for domain in domains:
        scope = scope_of(domain)
        found = Counter((one.alert.guard, one.alert.severity) for one in ledger.open_alerts(scope))
        for guard in (*LEDGER_GUARDS, FOLLOWING):
            for severity in Severity:
                labels = {"contract": scope, "guard": guard, "severity": severity.value}
                yield labels, found[guard, severity]


def _notices(ledger: WatchedLedger) -> Iterator[Sample]:
    yield {}, ledger.notices_waiting()


def _blocks(ledger: WatchedLedger, domains: list[Domain]) -> Iterator[Sample]:
    for domain in domains:
        if cursor := ledger.cursor(domain):
            yield {"contract": scope_of(domain)}, cursor.block.number


def _finals(ledger: WatchedLedger, domains: list[Domain]) -> Iterator[Sample]:
    for domain in domains:
        if cursor := ledger.cursor(domain):
            yield {"contract": scope_of(domain)}, cursor.final


def _ages(ledger: WatchedLedger, domains: list[Domain], now: int) -> Iterator[Sample]:
    for domain in domains:
        if cursor := ledger.cursor(domain):
            yield {"contract": scope_of(domain)}, max(0, now - cursor.timestamp)


def _unsettled(ledger: WatchedLedger, domains: list[Domain]) -> Iterator[Sample]:
    for record in ledger.tariffs():
        if record.domain in domains and ledger.cursor(record.domain):
            guards = Guards(ledger, record.domain, Limits(), lambda: 0)
            due = AssetAmount.total(one.due for one in guards.standings(record))
            labels = {"contract": scope_of(record.domain), "tariff": f"0x{record.id.hex()}"}
            yield labels, due.base_units


def _deliveries(ledger: WatchedLedger, domains: list[Domain]) -> Iterator[Sample]:
    for domain in domains:
        for state, count in ledger.counts(domain).items():
            yield {"contract": scope_of(domain), "state": state.value}, count


def _labels(labels: Labels) -> str:
    """Values here are addresses, ids and names of ours: nothing in them needs escaping."""
    inner = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{{{inner}}}" if inner else ""
