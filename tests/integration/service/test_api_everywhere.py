"""What holds for every operation, taken from the document: a new one that forgets it is noticed."""

from __future__ import annotations

import _service as support
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.exc import OperationalError

from meterbridge.adapters.intake.api_keys import Scope
from meterbridge.domain.units import AssetAmount
from meterbridge.services.chain_ports import Escrow

OTHER_PAYER = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
SCOPES = {"usage in": Scope.INGEST, "reading": Scope.READ, "operating": Scope.OPERATE}
QUERIES = {"consistency": {"old": 1}, "{tariff_id}/receipts": {"source": "gateway", "event_id": "0-0"}}
ONE_ANSWER = {
    "/v1/tariffs/{tariff_id}/accounts/{payer}/logs/{kind}/consistency",  # as long as a path
    "/v1/tariffs/{tariff_id}/accounts/{payer}/receipts/{receipt_id}",
    "/v1/tariffs/{tariff_id}/accounts/{payer}/receipts/{receipt_id}/proof",
    "/v1/tariffs/{tariff_id}/receipts",
    "/v1/tariffs/{tariff_id}/accounts/{payer}/credit",
    "/healthz",
    "/readyz",
    "/metrics",
}


class Chain:
    """A chain where everything is secured."""

    def newest_block(self):
        return 7

    def escrow(self, _tariff_id, _payer, *, block=None):
        return Escrow(AssetAmount(1_000), AssetAmount(0), 0)

    def secured(self, _tariff, _payer, _until, *, block=None):
        return AssetAmount(1_000)


@pytest.fixture
def full(tmp_path, serve):
    """Two of everything that is listed: tariffs, payers, batches, receipts, statements, contradictions."""
    book = support.Book(
        tmp_path, records=[support.tariff_record(name="one"), support.tariff_record(name="two")]
    )
    named = {"tariff": f"0x{book.record.id.hex()}"}
    with serve(book) as live:
        live.deps.escrows = Chain()
        for batch in range(2):
            events = [support.event(f"{batch}-{i}") for i in range(3)]
            events.append(support.event(f"{batch}-other", subject=OTHER_PAYER))
            assert live.send(*events, params=named).status_code == 200
            live.deps.worker._work.now = lambda at=1_800_000_000 + batch: at
            assert live.deps.worker.round()
        live.send(support.event("0-0", tokens=98), support.event("0-1", tokens=99), params=named)
        yield live


def operations(live):
    for path, methods in live.http.get("/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def placed(live, path):
    receipt = live.http.get(live.path("/logs/charges/0/receipts")).json()["items"][0]["id"]
    places = {"tariff_id": f"0x{live.book.record.id.hex()}", "payer": support.PAYER, "kind": "charges"}
    return path.format(**places, seq=0, receipt_id=receipt, number=1)


def ask(live, path, method, operation, key):
    """Ask an operation for what is one provider's, with a key or with none."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    params = dict(next((query for end, query in QUERIES.items() if path.endswith(end)), {}))
    names = {parameter["name"] for parameter in operation.get("parameters", ())}
    tariff = f"0x{live.book.record.id.hex()}"
    if "tariff" in names:
        params["tariff"] = tariff
    body = None
    if method == "post":
        body = operation["requestBody"]["content"]["application/json"]["example"]
        if "tariff" in body:
            found = {"source": "gateway", "event_id": "1-2"}
            receipt = live.http.get(f"/v1/tariffs/{tariff}/receipts", params=found).json()["id"]
            body = {**body, "tariff": tariff, "receipt": receipt, "buckets": {"input": 1}}
    url = placed(live, path)
    request = live.http.build_request(method, url, params=params, json=body, headers=headers)
    if key is None:
        del request.headers["Authorization"]
    return live.http.send(request)


def test_no_operation_shows_or_gives_anything_to_another_provider(full):
    other = full.book.make_key(*Scope, provider=support.OTHER_PROVIDER)
    before, seen = full.usage(), 0
    for path, method, operation in operations(full):
        if not path.startswith("/v1/"):
            continue
        theirs = ask(full, path, method, operation, other)
        if path in ("/v1/tariffs", "/v1/quarantine"):
            assert (theirs.status_code, theirs.json()["items"]) == (200, []), path
            assert full.http.get(path).json()["items"], path
        else:
            assert theirs.status_code == 404, (path, theirs.text)
        seen += 1
    assert seen == 16
    assert full.usage() == before
    assert len(full.http.get("/v1/quarantine").json()["items"]) == 2


def test_the_same_requests_are_answered_to_the_provider_itself(full):
    """Else the test above could pass by asking for what is not there."""
    for path, method, operation in operations(full):
        own = ask(full, path, method, operation, full.book.key)
        expected = (
            409 if path.endswith("/reject") else 200
        )  # the first contradiction was released just before
        assert own.status_code == expected, (path, own.text)


def test_every_operation_asks_for_a_key_with_its_scope(full):
    for path, method, operation in operations(full):
        scope = SCOPES.get(operation["tags"][0])
        if scope is None:
            assert path in ("/healthz", "/readyz", "/metrics")
            continue
        assert ask(full, path, method, operation, None).status_code == 401, path
        without = full.book.make_key(*(one for one in Scope if one is not scope))
        assert ask(full, path, method, operation, without).status_code == 403, path


def test_everything_that_lists_comes_in_pages(full):
    listed = 0
    for path, method, _ in operations(full):
        if method != "get" or path in ONE_ANSWER:
            continue
        url = placed(full, path)
        whole = full.http.get(url, params={"limit": 1_000}).json()
        assert whole["next"] is None
        assert len(whole["items"]) >= 2, path
        items, after = [], 0
        while after is not None:
            page = full.http.get(url, params={"limit": 1, "after": after}).json()
            assert len(page["items"]) <= 1, path
            items, after = items + page["items"], page["next"]
        assert items == whole["items"], path
        assert full.http.get(url, params={"limit": 1_001}).status_code == 422, path
        listed += 1
    assert listed == 6


def test_the_metrics_tell_of_deliveries_following_and_alerts_too(full):
    domain = full.book.record.domain
    full.book.ledger.enroll(domain, 1_800_000_100)
    families = {f.name: f for f in text_string_to_metric_families(full.http.get("/metrics").text)}
    waiting = {s.labels["state"]: s.value for s in families["meterbridge_deliveries"].samples}
    assert waiting == {"waiting": 1.0, "superseded": 1.0}  # the newer statement covers the older
    alerts = families["meterbridge_alerts_open"].samples
    assert {sample.value for sample in alerts} == {0.0}  # a rule on a metric that is not there never fires
    assert len({sample.labels["guard"] for sample in alerts}) > 5
    assert "meterbridge_events" in families


def test_the_services_own_metrics_outlive_the_database(live):
    def away():
        raise OperationalError("SELECT", None, Exception("the database is away"))

    live.send(support.event("a"))
    live.deps.chain_metrics = away
    answer = live.http.get("/metrics")
    assert answer.status_code == 200
    assert 'meterbridge_events_total{outcome="accepted"} 1.0' in answer.text
