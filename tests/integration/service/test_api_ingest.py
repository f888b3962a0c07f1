"""What comes in over HTTP is durable, counted once, and refused by index."""

from __future__ import annotations

import gzip
import json

import _service as support
import pytest

from meterbridge.adapters.intake.api_keys import Scope
from meterbridge.adapters.intake.rate_limit import RateLimit
from meterbridge.services.records import LogKind

BATCH = "application/cloudevents-batch+json"
ONE = "application/cloudevents+json"


def ndjson(*events):
    return b"\n".join(json.dumps(event).encode() for event in events)


def test_structured_binary_batched_and_ndjson_events_count_alike(live):
    event = support.event("structured")
    answers = [
        live.http.post("/v1/events", json=event, headers={"Content-Type": ONE}),
        live.http.post(
            "/v1/events",
            json=event["data"],
            headers={
                "ce-specversion": "1.0",
                "ce-id": "binary",
                "ce-source": "gateway",
                "ce-type": "llm.call",
                "ce-subject": support.PAYER,
                "ce-time": "2026-11-01T12:00:00Z",
            },
        ),
        live.send(support.event("batched")),
        live.http.post(
            "/v1/events",
            content=ndjson(support.event("line")),
            headers={"Content-Type": "application/x-ndjson"},
        ),
    ]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert all(answer.json() == {"accepted": 1, "repeated": 0} for answer in answers)
    assert live.usage()[:4] == (4 * 12, 0, 4 * 3, 0)


def test_binary_mode_decodes_percent_encoded_headers(live):
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "caf%C3%A9",
        "ce-source": "gateway",
        "ce-type": "llm.call",
        "ce-subject": support.PAYER,
        "ce-time": "2026-11-01T12:00:00Z",
    }
    live.http.post("/v1/events", json=support.event("x")["data"], headers=headers)
    # The same event in structured mode is a repetition, since its id is the same text.
    assert live.send(support.event("café")).json() == {"accepted": 0, "repeated": 1}


def test_gzip_is_unpacked(live):
    body = gzip.compress(json.dumps([support.event("a"), support.event("b")]).encode())
    answer = live.http.post(
        "/v1/events", content=body, headers={"Content-Type": BATCH, "Content-Encoding": "gzip"}
    )
    assert answer.json() == {"accepted": 2, "repeated": 0}


def test_a_gzip_bomb_is_refused_without_being_unpacked(book, serve):
    bomb = gzip.compress(b" " * 50_000_000)
    with serve(book, body_bytes=100_000) as live:
        answer = live.http.post(
            "/v1/events", content=bomb, headers={"Content-Type": BATCH, "Content-Encoding": "gzip"}
        )
    assert answer.status_code == 413


def test_broken_gzip_is_a_bad_request(live):
    body = gzip.compress(b"[]")[:-4]
    answer = live.http.post(
        "/v1/events", content=body, headers={"Content-Type": BATCH, "Content-Encoding": "gzip"}
    )
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:meterbridge:problem:bad-gzip")


def test_the_same_event_again_is_success_and_stored_once(live):
    for expected in ({"accepted": 1, "repeated": 0}, {"accepted": 0, "repeated": 1}):
        assert live.send(support.event("a")).json() == expected
    assert live.usage()[:4] == (12, 0, 3, 0)


def test_the_same_event_twice_in_one_batch_is_stored_once(live):
    assert live.send(support.event("a"), support.event("a")).json() == {"accepted": 1, "repeated": 1}
    assert live.usage()[:4] == (12, 0, 3, 0)


def test_another_content_under_a_known_id_is_a_conflict_and_both_are_kept(live):
    live.send(support.event("a"))
    answer = live.http.post("/v1/events", json=support.event("a", tokens=99), headers={"Content-Type": ONE})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:meterbridge:problem:conflict")
    assert answer.headers["content-type"] == "application/problem+json"
    (held,) = live.http.get("/v1/quarantine").json()["items"]
    assert held["incoming"]["buckets"] == {"input": 99, "output": 3}
    assert held["stored"]["usage"][:4] == [12, 0, 3, 0]
    assert live.usage()[:4] == (12, 0, 3, 0)


def test_one_bad_event_is_reported_by_index_and_does_not_stop_the_rest(live):
    broken = support.event("broken")
    broken["data"]["usage"]["prompt_tokens"] = -1
    answer = live.send(support.event("a"), broken, support.event("c"))
    assert answer.status_code == 422  # whoever looks only at the status must not believe that all was counted
    assert (answer.json()["accepted"], [e["index"] for e in answer.json()["errors"]]) == (2, [1])
    assert live.usage()[:4] == (24, 0, 6, 0)


def test_a_broken_line_of_ndjson_is_reported_by_index(live):
    body = ndjson(support.event("a")) + b"\n{broken\n" + ndjson(support.event("b"))
    answer = live.http.post("/v1/events", content=body, headers={"Content-Type": "application/x-ndjson"})
    assert (answer.json()["accepted"], answer.json()["errors"][0]["index"]) == (2, 1)


def test_prompts_and_answers_are_refused(live):
    event = support.event("a")
    event["data"]["messages"] = [{"role": "user", "content": "a secret"}]
    answer = live.send(event)
    assert answer.json()["errors"][0]["problem"] == "content-refused"
    assert "a secret" not in answer.text
    assert live.usage() == (0,) * 8


def test_a_bucket_with_usage_and_no_meter_is_refused_never_dropped(live):
    event = support.event("a")
    event["data"]["usage"]["prompt_tokens_details"] = {"audio_tokens": 5}
    answer = live.send(event)
    assert "audio_input" in answer.json()["errors"][0]["reason"]
    assert live.usage() == (0,) * 8


@pytest.mark.parametrize("source", ["void", "replacement"])
def test_reserved_sources_are_refused(live, source):
    answer = live.send(support.event("a", source=source))
    assert (answer.status_code, answer.json()["accepted"]) == (422, 0)


def test_an_event_without_a_payer_or_of_an_unknown_customer_is_refused(live):
    answer = live.send(support.event("a", subject=None), support.event("b", subject="nobody"))
    assert [e["index"] for e in answer.json()["errors"]] == [0, 1]


def test_a_customer_is_found_by_name_and_shares_the_log_of_the_address(live):
    live.send(support.event("a"))
    key = live.account()
    live.book.ledger.open_account(key, live.book.ledger.account(key).blind, "Example Ltd")
    assert live.send(support.event("b", subject="Example Ltd")).json()["accepted"] == 1
    assert live.usage()[0] == 24


def test_the_headroom_of_a_lane_refuses_what_would_exceed_it(book, tmp_path, serve):
    small = support.Book(tmp_path / "small", records=[support.tariff_record(headroom="20")])
    with serve(small) as live:
        answer = live.send(support.event("a"), support.event("b"))
        assert (answer.json()["accepted"], answer.json()["errors"][0]["problem"]) == (1, "headroom")
        assert live.usage()[0] == 12


def test_full_logs_of_many_payers_are_found_in_one_go(tmp_path, serve, monkeypatch):
    """Else a batch for a hundred payers without headroom would be written a hundred times."""
    book = support.Book(tmp_path, records=[support.tariff_record(headroom="30")])
    with serve(book) as live:
        tries = []
        add = live.deps.ledger.add_receipts
        monkeypatch.setattr(
            live.deps.ledger, "add_receipts", lambda *given, **more: (tries.append(1), add(*given, **more))[1]
        )
        payers = [f"0x{number:040x}" for number in range(1, 41)]
        events = [
            support.event(f"{payer}-{tokens}", tokens=tokens, subject=payer)
            for payer in payers
            for tokens in (12, 25, 13)
        ]
        answer = live.send(*events)
        assert answer.status_code == 422
        assert answer.json()["accepted"] == 80  # 12 and 13 of each; 25 does not fit beside them
        assert [error["index"] for error in answer.json()["errors"]] == list(range(1, 120, 3))
        assert {error["problem"] for error in answer.json()["errors"]} == {"headroom"}
        assert len(tries) == 2
    book.close()


def test_too_large_bodies_and_batches_are_413(book, serve):
    with serve(book, body_bytes=5_000, batch_events=3) as live:
        long = live.send(*(support.event(str(i)) for i in range(100)))
        many = live.send(*(support.event(str(i)) for i in range(4)))
        assert [long.status_code, many.status_code] == [413, 413]
        assert live.usage() == (0,) * 8


def test_a_body_without_a_stated_length_is_cut_off_at_the_limit(book, serve):
    def endless():
        for _ in range(10_000):
            yield b" " * 1_000

    with serve(book, body_bytes=5_000) as live:
        answer = live.http.post("/v1/events", content=endless(), headers={"Content-Type": BATCH})
        assert answer.status_code == 413


def test_a_key_that_sends_too_fast_gets_429_with_retry_after(book, serve):
    now = [0.0]
    with serve(book) as live:
        live.deps.rate = RateLimit(rate=10, burst=20, clock=lambda: now[0])
        sizes = (20, 15)
        first, second = (live.send(*(support.event(f"{size}-{i}") for i in range(size))) for size in sizes)
        assert [first.status_code, second.status_code] == [200, 429]
        assert second.headers["retry-after"] == "2"  # 15 events at 10 a second, in whole seconds
        now[0] = 2.0
        assert live.send(*(support.event(f"15-{i}") for i in range(15))).status_code == 200
        assert live.usage()[0] == 12 * 35


def test_unknown_media_types_and_encodings_are_415(live):
    for headers in ({"Content-Type": "text/csv"}, {"Content-Type": BATCH, "Content-Encoding": "br"}):
        assert live.http.post("/v1/events", content=b"[]", headers=headers).status_code == 415


def test_a_key_without_the_scope_or_of_another_provider_reaches_nothing(live):
    other = live.book.make_key(Scope.INGEST, Scope.READ, Scope.OPERATE, provider=support.OTHER_PROVIDER)
    reader = live.book.make_key(Scope.READ)
    live.send(support.event("a"))
    tariff = f"0x{live.book.record.id.hex()}"
    body = json.dumps([support.event("b")])

    def asked(key, method, path, **more):
        headers = {"Authorization": f"Bearer {key}", "Content-Type": BATCH}
        return live.http.request(method, path, headers=headers, **more).status_code

    assert asked(reader, "POST", "/v1/events", content=body) == 403
    assert asked(other, "POST", f"/v1/events?tariff={tariff}", content=body) == 404
    assert asked(other, "GET", live.path("/logs/charges")) == 404
    assert asked(other, "GET", f"/v1/tariffs/{tariff}/statements") == 404
    assert live.http.get("/v1/tariffs", headers={"Authorization": f"Bearer {other}"}).json()["items"] == []
    assert asked("mb_aaaaaaaaaaaa_" + "a" * 43, "GET", "/v1/tariffs") == 401


def test_quarantine_of_another_provider_is_out_of_reach(live):
    live.send(support.event("a"))
    live.send(support.event("a", tokens=5))
    other = live.book.make_key(Scope.OPERATE, provider=support.OTHER_PROVIDER)
    headers = {"Authorization": f"Bearer {other}"}
    assert live.http.get("/v1/quarantine", headers=headers).json()["items"] == []
    assert live.http.post("/v1/quarantine/1/reject", json={}, headers=headers).status_code == 404


def test_an_event_sent_under_two_tariffs_of_a_provider_is_a_conflict(tmp_path, serve):
    records = [support.tariff_record(name="one"), support.tariff_record(name="two")]
    book = support.Book(tmp_path, records=records)
    with serve(book) as live:
        unnamed = live.send(support.event("a"))
        assert unnamed.status_code == 422  # which tariff? nothing is guessed
        first, second = (
            live.send(support.event("a"), params={"tariff": f"0x{record.id.hex()}"}) for record in records
        )
        assert [first.status_code, second.status_code] == [200, 409]


def test_a_released_conflict_corrects_the_stored_charge_and_a_rejected_one_does_not(live):
    live.send(support.event("a"), support.event("b"))
    live.send(support.event("a", tokens=20), support.event("b", tokens=30))
    one, two = (item["number"] for item in live.http.get("/v1/quarantine").json()["items"])
    assert (
        live.http.post(f"/v1/quarantine/{one}/release", json={"note": "cut off"}).json()["state"]
        == "released"
    )
    assert live.http.post(f"/v1/quarantine/{two}/reject", json={}).json()["state"] == "rejected"
    assert live.http.post(f"/v1/quarantine/{two}/reject", json={}).status_code == 409
    assert live.usage()[0] == 20 + 12


def test_a_correction_before_sealing_replaces_and_after_it_goes_to_the_credit_log(live):
    live.send(support.event("a"), support.event("b"))
    tariff = f"0x{live.book.record.id.hex()}"
    ids = [
        live.http.get(
            f"/v1/tariffs/{tariff}/receipts", params={"source": "gateway", "event_id": name}
        ).json()["id"]
        for name in "ab"
    ]

    def correct(receipt, buckets):
        body = {"tariff": tariff, "payer": support.PAYER, "receipt": receipt, "reason": "test"}
        return live.http.post(
            "/v1/corrections", json=body | ({} if buckets is None else {"buckets": buckets})
        )

    assert correct(ids[0], {"input": 5}).json()["kind"] == "in place"
    assert live.deps.worker.round()
    assert correct(ids[1], {"input": 7}).json()["kind"] == "credited"
    assert correct(ids[1], {"input": 7}).json()["kind"] == "repeated"
    assert live.usage(LogKind.CHARGES)[:3] == (5 + 12 + 7, 0, 3)
    assert live.usage(LogKind.CREDITS)[:3] == (12, 0, 3)


def test_request_ids_come_back_and_problems_name_them(live):
    answer = live.http.get("/nowhere", headers={"X-Request-Id": "my-id.1"})
    assert (answer.headers["x-request-id"], answer.json()["request_id"]) == ("my-id.1", "my-id.1")
    forged = live.http.get("/nowhere", headers={"X-Request-Id": "a b"})
    assert forged.headers["x-request-id"] != "a b"
