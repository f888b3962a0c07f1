"""The OpenAPI document: complete, with examples that are valid and look like what is really answered."""

from __future__ import annotations

import json
import re
from typing import Any

import _service as support
import jsonschema_rs  # it comes with schemathesis
import pytest

WITHOUT = {"application/x-protobuf", "application/protobuf"}  # bytes that no document can show


@pytest.fixture
def document(live):
    return live.http.get("/openapi.json").json()


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def bodies(document):
    """Every request and response body: (where, content type, body)."""
    for name, operation in operations(document):
        for kind, body in operation.get("requestBody", {}).get("content", {}).items():
            yield f"{name} request", kind, body
        for status, response in operation["responses"].items():
            for kind, body in response.get("content", {}).items():
                yield f"{name} {status}", kind, body


def validator(document, schema):
    return jsonschema_rs.validator_for({**schema, "components": document["components"]})


def test_every_operation_says_what_it_is_for(document):
    names = [name for name, _ in operations(document)]
    assert len(names) == 19
    for name, operation in operations(document):
        assert operation.get("summary"), name
        assert len(operation.get("description", "")) > 20, name
        assert "200" in operation["responses"], name
        if name.startswith("post /v1") or "/v1/" in name:
            assert {"401", "403", "404"} <= operation["responses"].keys(), name
            assert operation.get("security"), name


def test_every_body_has_an_example_that_is_valid(document):
    seen = 0
    for where, kind, body in bodies(document):
        if kind in WITHOUT:
            continue
        assert "example" in body, f"{where} {kind}"
        validator(document, body.get("schema", {})).validate(body["example"])
        seen += 1
    assert seen > 100


def test_examples_with_something_amiss_would_not_pass(document):
    body = document["paths"]["/v1/corrections"]["post"]["requestBody"]["content"]["application/json"]
    broken = {**body["example"], "reason": ""}
    with pytest.raises(jsonschema_rs.ValidationError):
        validator(document, body["schema"]).validate(broken)


def test_the_examples_of_usage_are_taken(live, document):
    for path in ("/v1/events", "/v1/traces"):
        for kind, body in document["paths"][path]["post"]["requestBody"]["content"].items():
            if kind in WITHOUT:
                continue
            example = body["example"]
            content = example.encode() if isinstance(example, str) else json.dumps(example).encode()
            answer = live.http.post(path, content=content, headers={"Content-Type": kind})
            assert (answer.status_code, answer.text.count("reject")) == (200, 0), (path, kind, answer.text)


def outline(value: Any) -> Any:
    """The keys of all objects inside, of lists the first item's; texts by what they look like."""
    if isinstance(value, dict):
        return {key: outline(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [outline(value[0])] if value else []
    if isinstance(value, str):
        return re.sub(r"[0-9a-f]{2,}", "hex", value) if value.startswith("0x") else "text"
    return type(value).__name__


@pytest.fixture
def busy(live):
    live.send(*(support.event(name) for name in "abc"))
    assert live.deps.worker.round()
    live.send(support.event("a", tokens=99))
    live.send(support.event("b", tokens=98))
    return live


def test_the_examples_of_answers_look_like_the_answers(busy, document):
    tariff = f"0x{busy.book.record.id.hex()}"
    receipts = busy.http.get(busy.path("/logs/charges/0/receipts")).json()["items"]
    places = {
        "{tariff_id}": tariff,
        "{payer}": support.PAYER,
        "{kind}": "charges",
        "{seq}": "0",
        "{receipt_id}": receipts[0]["id"],
    }
    queries = {"consistency": "?old=1&new=1", "{tariff_id}/receipts": "?source=gateway&event_id=a"}
    compared = 0
    for path, methods in document["paths"].items():
        body = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        if "application/json" not in body or path.endswith("/credit"):  # credit needs a chain: test_api_chain
            continue
        url = path
        for name, value in places.items():
            url = url.replace(name, value)
        url += next((query for end, query in queries.items() if path.endswith(end)), "")
        answer = busy.http.get(url)
        assert answer.status_code == 200, (url, answer.text)
        validator(document, body["application/json"]["schema"]).validate(answer.json())
        assert outline(answer.json()) == outline(body["application/json"]["example"]), path
        compared += 1
    assert compared == 12


def test_the_examples_of_decisions_look_like_the_answers(busy, document):
    items = busy.http.get(busy.path("/logs/charges/0/receipts")).json()["items"]
    receipt = next(item["id"] for item in items if item["event_id"] == "c")
    corrections = document["paths"]["/v1/corrections"]["post"]
    wanted = corrections["requestBody"]["content"]["application/json"]["example"]
    wanted = {**wanted, "tariff": f"0x{busy.book.record.id.hex()}", "receipt": receipt}
    wanted["buckets"] = {"input": 1, "output": 1}
    asked = {
        "/v1/corrections": ("/v1/corrections", wanted),
        "/v1/quarantine/{number}/release": ("/v1/quarantine/1/release", {"note": "so it was"}),
        "/v1/quarantine/{number}/reject": ("/v1/quarantine/2/reject", {}),
    }
    for path, (url, body) in asked.items():
        answer = busy.http.post(url, json=body)
        assert answer.status_code == 200, answer.text
        example = document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"][
            "example"
        ]
        assert answer.json().keys() == example.keys(), path
