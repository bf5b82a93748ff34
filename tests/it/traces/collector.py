"""A collector of OpenTelemetry as a proxy meets it: takes traces by OTLP over HTTP, reads them with the
messages that OpenTelemetry publishes, and holds them against what the specification asks of a span.

POST /v1/traces as exporters do; GET /spans shows all that came; PUT /answer says by which status the
next batches are answered, as `503 2` (twice; `503 1 2`: with Retry-After: 2), or that one span of each is refused, as `200 2`; GET /batches how many were asked for, and the
seconds from the last refused one to the next."""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

LOCK = threading.Lock()
SPANS, WRONG = [], []
STATE = {"status": 0, "times": 0, "batches": 0, "after": None, "refused": None, "pause": None}
KINDS = {trace_pb2.Span.SPAN_KIND_SERVER: "server", trace_pb2.Span.SPAN_KIND_CLIENT: "client"}


def value(any_value):
    kind = any_value.WhichOneof("value")
    return getattr(any_value, kind)


def attributes(pairs):
    out = {pair.key: value(pair.value) for pair in pairs}
    if len(out) != len(pairs):
        WRONG.append("keys of attributes are unique: %r" % pairs)
    return out


def check(span):
    """What trace.proto says of a span."""
    for ok, what in (
        (len(span.trace_id) == 16 and any(span.trace_id), "trace_id"),
        (len(span.span_id) == 8 and any(span.span_id), "span_id"),
        (len(span.parent_span_id) in (0, 8), "parent_span_id"),
        (span.name, "name"),
        (span.kind in KINDS, "kind"),
        (0 < span.start_time_unix_nano <= span.end_time_unix_nano, "times"),
        (span.flags & 0xFF == 1, "flags"),
        (not span.ListFields()[0][0].name.startswith("unknown"), "fields"),
    ):
        if not ok:
            WRONG.append("%s of %r" % (what, span))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == 503 and STATE["after"]:
            self.send_header("Retry-After", STATE["after"])
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_GET(self):
        with LOCK:
            if self.path == "/spans":
                out = {"spans": SPANS, "wrong": WRONG}
            else:
                out = {"batches": STATE["batches"], "pause": STATE["pause"]}
            self.answer(200, json.dumps(out).encode())

    def do_PUT(self):
        status, times, *after = self.body().split()
        with LOCK:
            STATE["status"], STATE["times"] = int(status), int(times)
            STATE["after"] = after[0].decode() if after else None
        self.answer(204)

    def do_POST(self):
        body = self.body()
        with LOCK:
            STATE["batches"] += 1
            if STATE["refused"] is not None:
                STATE["pause"] = time.monotonic() - STATE["refused"]
                STATE["refused"] = None
            if self.path != "/v1/traces" or self.headers["Content-Type"] != "application/x-protobuf":
                WRONG.append("%s %s" % (self.path, self.headers["Content-Type"]))
            if STATE["times"] > 0:
                STATE["times"] -= 1
                if STATE["status"] != 200:
                    STATE["refused"] = time.monotonic()
                refused = trace_service_pb2.ExportTraceServiceResponse()
                if STATE["status"] == 200:
                    refused.partial_success.rejected_spans = 1
                    refused.partial_success.error_message = "one too many"
                return self.answer(STATE["status"], refused.SerializeToString(), "application/x-protobuf")
            request = trace_service_pb2.ExportTraceServiceRequest()
            request.ParseFromString(body)
            # What the published messages do not know would be kept aside, and written again.
            request.DiscardUnknownFields()
            if len(request.SerializeToString()) != len(body):
                WRONG.append("unknown fields")
            for resource_spans in request.resource_spans:
                resource = attributes(resource_spans.resource.attributes)
                for scope_spans in resource_spans.scope_spans:
                    for span in scope_spans.spans:
                        check(span)
                        SPANS.append(
                            {
                                "service": resource["service.name"],
                                "scope": scope_spans.scope.name,
                                "trace": span.trace_id.hex(),
                                "id": span.span_id.hex(),
                                "parent": span.parent_span_id.hex(),
                                "state": span.trace_state,
                                "name": span.name,
                                "kind": KINDS.get(span.kind, "?"),
                                "begun": span.start_time_unix_nano,
                                "ended": span.end_time_unix_nano,
                                "remote": bool(span.flags & 0x200),
                                "error": span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
                                "attributes": attributes(span.attributes),
                            }
                        )
        response = trace_service_pb2.ExportTraceServiceResponse()
        self.answer(200, response.SerializeToString(), "application/x-protobuf")


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
