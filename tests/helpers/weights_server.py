"""A stand-in for the storage of the published models: a server on loopback, in this process."""

import base64
import contextlib
import hashlib
import http.server
import json
import pathlib
import threading
import urllib.parse

BUCKET = "simclr-checkpoints-tf2"


class WeightsServer:
    """Serves objects as the storage does: a list of them, and each of them from any byte on.

    Args:
        objects: {name: content}.

    Attributes:
        url: of the server.
        requests: [(path, value of the header Range or "")] of the objects that were asked for.
        cut_after: bytes of an object after which the connection is cut, one number for each
            answer; none: no connection is cut.
        spoiled: names of objects that arrive with another byte.
        missing: names of objects that are listed and answered with 404.
        without_md5: whether the list has no MD5.
        knows_ranges: whether an object can be had from any byte on.
        page_size: objects in an answer to the question which there are.
    """

    def __init__(self, objects):
        self.objects = objects
        self.requests = []
        self.cut_after = []
        self.spoiled = set()
        self.missing = set()
        self.without_md5 = False
        self.knows_ranges = True
        self.page_size = 2
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextlib.contextmanager
    def running(self):
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()

    def _handler(self):
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                url = urllib.parse.urlsplit(self.path)
                if url.path == f"/storage/v1/b/{BUCKET}/o":
                    self._send(200, server._listing(urllib.parse.parse_qs(url.query)))
                else:
                    self._send_object(urllib.parse.unquote(url.path).removeprefix(f"/{BUCKET}/"))

            def _send_object(self, name):
                header = self.headers.get("Range", "")
                server.requests.append((name, header))
                if name in server.missing or name not in server.objects:
                    self.send_error(404)
                    return
                content = server.objects[name]
                if name in server.spoiled:
                    content = bytes([content[0] ^ 1]) + content[1:]
                if header and server.knows_ranges:
                    start = int(header.removeprefix("bytes=").removesuffix("-"))
                    self._send(206, content[start:], is_object=True)
                else:
                    self._send(200, content, is_object=True)

            def _send(self, status, content, is_object=False):
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if is_object and server.cut_after:
                    content = content[: server.cut_after.pop(0)]
                    self.close_connection = True
                self.wfile.write(content)

            def log_message(self, *unused):
                pass

        return Handler

    def _listing(self, query):
        prefix = query.get("prefix", [""])[0]
        names = sorted(name for name in self.objects if name.startswith(prefix))
        first = int(query.get("pageToken", ["0"])[0] or 0)
        items = [self._item(name) for name in names[first : first + self.page_size]]
        listing = {"kind": "storage#objects", "items": items}
        if first + self.page_size < len(names):
            listing["nextPageToken"] = str(first + self.page_size)
        return json.dumps(listing).encode()

    def _item(self, name):
        content = self.objects[name]
        md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
        item = {"name": name, "size": str(len(content)), "md5Hash": md5}
        if self.without_md5:
            del item["md5Hash"]
        return item


def objects_of(saved_model: str, architecture: str, variant: str) -> dict[str, bytes]:
    """{name: content} of the objects in the bucket that a SavedModel would be."""
    folder = pathlib.Path(saved_model)
    prefix = f"simclrv2/{variant}/{architecture}/saved_model"
    files = [path for path in folder.rglob("*") if path.is_file()]
    objects = {
        f"{prefix}/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in files
    }
    return {f"{prefix}/variables/": b"", **objects}  # the console of the storage makes "folders"
