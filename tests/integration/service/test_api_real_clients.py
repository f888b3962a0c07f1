"""The real clients post to the running service: CloudEvents SDK, OpenTelemetry exporter, LiteLLM."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import _service as support
import pytest

pytest.importorskip("cloudevents", reason="the CloudEvents SDK is not installed")
WHEN = datetime(2026, 11, 1, 12, tzinfo=UTC)


def sdk_event(identity):
    from cloudevents.core.v1.event import CloudEvent

    attributes = {
        "id": identity,
        "source": "gateway",
        "type": "llm.call",
        "subject": support.PAYER,
        "time": WHEN,
        "datacontenttype": "application/json",
    }
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
    return CloudEvent(attributes, {"model": "example-1", "usage": usage})


@pytest.mark.parametrize("mode", ["to_binary_event", "to_structured_event"])
def test_the_cloudevents_sdk_posts_events(live, mode):
    from cloudevents.core.bindings import http

    message = getattr(http, mode)(sdk_event("a"))
    answer = live.http.post("/v1/events", content=message.body, headers=message.headers)
    assert (answer.status_code, answer.json()) == (200, {"accepted": 1, "repeated": 0})
    # The specification's batch of what the SDK writes; the SDK itself has no batch mode over HTTP.
    batch = [json.loads(http.to_structured_event(sdk_event(name)).body) for name in "ab"]
    assert live.send(*batch).json() == {"accepted": 1, "repeated": 1}
    assert live.usage()[:3] == (24, 0, 6)


def span_exporter(live, compression=None):
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(
        endpoint=live.url + "/v1/traces",
        headers={"Authorization": f"Bearer {live.book.key}"},
        compression=Compression.Gzip if compression else Compression.NoCompression,
    )


@pytest.mark.parametrize("compression", [False, True])
def test_the_opentelemetry_exporter_posts_spans(live, compression):
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(span_exporter(live, compression)))
    tracer = provider.get_tracer("gateway")
    with tracer.start_as_current_span("invoke_agent") as agent:
        # The agent's span sums up what is below it: counting both would bill twice.
        agent.set_attributes({"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 100})
        with tracer.start_as_current_span("chat") as span:
            span.set_attributes(
                {
                    "gen_ai.operation.name": "chat",
                    "gen_ai.provider.name": "example",
                    "gen_ai.response.id": "chatcmpl-1",
                    "gen_ai.usage.input_tokens": 100,
                    "gen_ai.usage.cache_read.input_tokens": 40,
                    "gen_ai.usage.output_tokens": 7,
                    "enduser.id": support.PAYER,
                }
            )
        with tracer.start_as_current_span("http.request"):
            pass
    provider.shutdown()
    assert live.usage()[:3] == (60, 40, 7)


def test_otlp_json_and_protobuf_are_the_same_events(live):
    from google.protobuf.json_format import ParseDict
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTraceServiceRequest,
        ExportTraceServiceResponse,
    )

    from meterbridge.entrypoints.api import examples

    export = json.loads(json.dumps(examples.EXPORT))
    span = export["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    del span["attributes"][1]  # without the response's id, the span's own ids are its identity
    first = live.http.post("/v1/traces", json=export)
    binary = json.loads(json.dumps(export))
    for key in ("traceId", "spanId"):  # protobuf's own JSON has bytes in base64
        import base64

        held = binary["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
        held[key] = base64.b64encode(bytes.fromhex(held[key])).decode()
    message = ParseDict(binary, ExportTraceServiceRequest()).SerializeToString()
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
    second = live.http.post("/v1/traces", content=gzip.compress(message), headers=headers)
    assert [first.status_code, second.status_code] == [200, 200]
    assert ExportTraceServiceResponse.FromString(second.content).partial_success.rejected_spans == 0
    assert live.usage()[0] == 1200  # and not twice


def test_a_refused_span_is_a_partial_success_as_otlp_has_it(live):
    from meterbridge.entrypoints.api import examples

    export = json.loads(json.dumps(examples.EXPORT))
    export["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"].pop()  # nobody pays
    answer = live.http.post("/v1/traces", json=export)
    assert answer.status_code == 200
    assert answer.json()["partialSuccess"]["rejectedSpans"] == "1"


PROTOBUF = {"Content-Type": "application/x-protobuf"}


@pytest.mark.parametrize("kind", ["application/x-protobuf", "application/json"])
def test_a_refused_export_is_a_status_message_as_otlp_has_it(live, kind):
    from google.rpc.status_pb2 import Status  # Google's own reading of it

    for body, headers, status, code in (
        (b"\xff\xff", {}, 400, 3),
        (b"", {"Authorization": "Bearer mb_nobody"}, 401, 16),
        (b"", {"Content-Encoding": "br"}, 415, 3),
    ):
        answer = live.http.post("/v1/traces", content=body, headers={"Content-Type": kind, **headers})
        assert (answer.status_code, answer.headers["content-type"]) == (status, kind)
        is_json = kind == "application/json"
        found = Status(**answer.json()) if is_json else Status.FromString(answer.content)
        assert found.code == code
        assert len(found.message) > 20


def test_an_exporter_may_repeat_what_was_refused_for_want_of_room(book, serve):
    from google.rpc.status_pb2 import Status

    with serve(book, inflight_bytes=10) as live:
        live.deps.bodies._held = 10  # as long bodies of others would
        answer = live.http.post("/v1/traces", content=b"\x00" * 100, headers=PROTOBUF)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert Status.FromString(answer.content).code == 14


def test_whoever_speaks_no_otlp_gets_a_problem_document(live):
    answer = live.http.post("/v1/traces", content=b"<xml/>", headers={"Content-Type": "text/xml"})
    assert (answer.status_code, answer.headers["content-type"]) == (415, "application/problem+json")


LITELLM = """
import asyncio, os, sys
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm
from meterbridge.client import Client
from meterbridge.integrations.litellm import MeterbridgeLogger

logger = MeterbridgeLogger(Client(sys.argv[1], sys.argv[2]))
litellm.callbacks = [logger]
def mock():
    usage = litellm.Usage(prompt_tokens=100, completion_tokens=7, total_tokens=107)
    choices = [{"message": {"role": "assistant", "content": "a secret answer"}}]
    return litellm.ModelResponse(choices=choices, usage=usage, model="gpt-4o")

async def awaited():
    await litellm.acompletion(**ask, mock_response=mock())
    await asyncio.sleep(1.0)  # LiteLLM hands over from a task of its own

ask = {"model": "gpt-4o", "messages": [{"role": "user", "content": "a secret"}], "user": sys.argv[3]}
litellm.completion(**ask, mock_response=mock())
asyncio.run(awaited())
options = {"stream": True, "stream_options": {"include_usage": True}}
for _ in litellm.completion(**ask, mock_response="ten words", **options):
    pass
import time
time.sleep(1.5)  # LiteLLM runs callbacks in threads of its own
logger.close()
print(logger._background.totals)
"""


@pytest.mark.skipif(
    importlib.util.find_spec("litellm") is None,
    reason="LiteLLM is not installed (300 MB): pip install -r requirements/litellm.txt",
)
def test_litellm_reports_plain_awaited_and_streamed_calls_once_each(live):
    done = subprocess.run(
        [sys.executable, "-c", LITELLM, live.url, live.book.key, support.PAYER],
        env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "accepted=3" in done.stdout, done.stdout + done.stderr[-2000:]
    live.deps.worker.round()
    key = live.account()
    lanes = live.usage()
    assert lanes[0] >= 200
    assert lanes[2] >= 14
    receipts = live.http.get(live.path("/logs/charges/0/receipts")).json()["items"]
    assert len(receipts) == 3
    assert "secret" not in json.dumps(receipts)
    assert key is not None
