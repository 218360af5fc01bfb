"""A server on this machine with made-up files and faults, by path."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler], None]


class FileServer:
    """Serves `answers`, and counts the requests for each path.

    answers: by path, the content of a file, or a function that answers.
    url: of the server, without a slash at its end.
    """

    def __init__(self, port: int) -> None:
        self.answers: dict[str, bytes | Answer] = {}
        self.requests: list[str] = []
        self.url = f"http://127.0.0.1:{port}"

    def serve(self, path: str, answer: bytes | Answer) -> str:
        """Serve something from now on; gives its address."""
        self.answers[path] = answer
        return self.url + path


@contextmanager
def file_server() -> Iterator[FileServer]:
    """A running server; it is shut down at the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            files.requests.append(path)
            answer = files.answers.get(path)
            if answer is None:
                self.send_error(404)
            elif callable(answer):
                answer(self)
            else:
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        do_POST = do_HEAD = do_GET  # noqa: N815 (http.server's names)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    files = FileServer(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield files
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
