"""What every backend of these tests has in common: JSON over HTTP, bearer tokens, a
clock, and faults that a test asks for.

A fault is planned by POST /control/fault {"path", "kind", …} and strikes the next request
to that path: "before" (the connection breaks before anything is done), "after" (it breaks
when all was done and before the answer), "hold" (the answer waits until `release` is
called), "half" (half of the answer), "status" (that status, with headers and a body),
"html" (a page with status 200). GET /control/state is
everything the backend has; POST /control/call runs a method of the backend by name.
"""
import base64
import gzip
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit


class Refused(Exception):
    def __init__(self, status, message, headers=None):
        super().__init__(message)
        self.status, self.headers = status, headers or {}


class Backend:
    """A subclass has `routes`: {(method, path): method name}, called with the request."""

    routes = {}

    # Where server-sent events say that something was pushed; None: nowhere.
    live_path = None

    def __init__(self):
        self.lock = threading.Lock()
        self.news = threading.Condition(self.lock)
        self.pushes = 0
        self.listeners = 0
        self.faults = []
        self.released = threading.Event()
        self.held = 0
        self.requests = []
        self.last = 0

    def now(self):
        """Milliseconds, never the same twice."""
        self.last = max(self.last + 1, int(time.time() * 1000))
        return self.last

    def state(self):
        raise NotImplementedError

    def release(self):
        self.released.set()
        return {}

    def held_answers_gone(self):
        """How many held answers were sent after all."""
        return self.held

    def forget_faults(self):
        self.faults = []
        return {}


class Request:
    def __init__(self, user, query, body, headers):
        self.user, self.query, self.body, self.headers = user, query, body, headers


def claims_of(headers):
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return claims if scheme == "Bearer" else {}
    except Exception:
        return {}


def user_of(headers):
    user = claims_of(headers).get("sub")
    if user is None:
        raise Refused(401, "a token is needed")
    return user


def device_of(headers):
    """The device, where its token names one: tests tell two of one user apart by it."""
    return claims_of(headers).get("device")


def handler(backend):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def do_GET(self):
            self.serve("GET")

        def do_POST(self):
            self.serve("POST")

        def serve(self, method):
            url = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                raw = gzip.decompress(raw)
            body = json.loads(raw) if raw else None
            if url.path.startswith("/control/"):
                with backend.lock:
                    return self.answer(200, self.control(url.path, body))
            if method == "GET" and url.path == backend.live_path:
                return self.live()
            fault = self.fault(method, url.path)
            if fault.get("kind") == "before":
                return self.drop()
            if fault.get("kind") == "status":
                return self.answer(fault["status"], fault.get("body", {}), fault.get("headers", {}))
            if fault.get("kind") == "html":
                return self.send(200, b"<html>Please log in</html>", {"Content-Type": "text/html"})
            try:
                with backend.lock:
                    name = backend.routes.get((method, url.path))
                    if name is None:
                        raise Refused(404, "no such path")
                    user = user_of(self.headers)
                    query = dict(parse_qsl(url.query))
                    request = Request(user, query, body, self.headers)
                    backend.requests.append([method, url.path, body])
                    status, answer, headers = 200, getattr(backend, name)(request), {}
                    if name == "push":
                        backend.pushes += 1
                        backend.news.notify_all()
            except Refused as refused:
                status, answer, headers = refused.status, {"error": str(refused)}, refused.headers
            if fault.get("kind") == "after":
                return self.drop()
            if fault.get("kind") == "hold":
                backend.released.wait()
            self.answer(status, answer, headers, fault.get("kind") == "half")
            if fault.get("kind") == "hold":
                backend.held += 1

        def live(self):
            """One event now and one for each push, until the other side has gone."""
            try:
                user_of(self.headers)
            except Refused as refused:
                return self.answer(refused.status, {"error": str(refused)})
            self.close_connection = True
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            with backend.lock:
                backend.listeners += 1
            seen = None
            try:
                while True:
                    with backend.lock:
                        backend.news.wait_for(lambda: backend.pushes != seen, 0.5)
                        event = b": beat" if backend.pushes == seen else b'data: {"more": true}'
                        seen = backend.pushes
                    self.wfile.write(event + b"\n\n")
                    self.wfile.flush()
            except OSError:
                pass
            with backend.lock:
                backend.listeners -= 1

        def control(self, path, body):
            if path == "/control/fault":
                backend.faults += body if isinstance(body, list) else [body]
                return {}
            if path == "/control/call":
                return getattr(backend, body["name"])(*body.get("args", []))
            if path == "/control/requests":
                return backend.requests
            return backend.state()

        def fault(self, method, path):
            device = device_of(self.headers)
            with backend.lock:
                for at, fault in enumerate(backend.faults):
                    mine = fault.get("device") in (None, device)
                    if mine and path.endswith(fault["path"]) and fault.get("method", method) == method:
                        return backend.faults.pop(at)
            return {}

        def drop(self):
            self.close_connection = True
            self.connection.close()

        def answer(self, status, answer, headers=None, half=False):
            data = json.dumps(answer).encode()
            headers = dict(headers or {})
            if "gzip" in self.headers.get("Accept-Encoding", "") and len(data) > 1000:
                data = gzip.compress(data, 1)
                headers["Content-Encoding"] = "gzip"
            self.send(status, data, {"Content-Type": "application/json", **headers}, half)

        def send(self, status, data, headers, half=False):
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if half else data)
            except OSError:
                return
            if half:
                self.drop()

    return Handler


def serve(backend):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(backend))
    server.daemon_threads = True
    print("listening on 127.0.0.1:%d" % server.server_address[1], flush=True)
    server.serve_forever()
