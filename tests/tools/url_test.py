"""Models by URL: snug inspect against a server on the loopback that serves, redirects and lies."""
import http.server
import json
import os
import struct
import subprocess
import tempfile
import threading
import unittest

BIN = os.environ.get("SNUG_BIN", "")
PIECE = 256 << 10


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def gguf(n_tokens=10, tensors=("one",), keys=(), said=None):
    """A llama of one tensor each of 32 bytes, and a vocabulary of any length."""
    pairs = [text("general.architecture") + struct.pack("<I", 8) + text("llama"),
             text("llama.block_count") + struct.pack("<II", 4, 3),
             text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, said or n_tokens)
             + b"".join(text(f"token{i:011d}") for i in range(n_tokens))]
    pairs += [text(key) + struct.pack("<II", 4, value) for key, value in keys]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs)
    for i, name in enumerate(tensors):
        head += text(name) + struct.pack("<IQIQ", 1, 8, 0, 32 * i)
    head += bytes(-len(head) % 32)
    return head + bytes(32 * len(tensors))


SMALL, LARGE = gguf(), gguf(100_000)  # one piece; 2.4 MB of header, five pieces
PART_1 = gguf(keys=(("split.no", 0), ("split.count", 2), ("split.tensors.count", 2)))
PART_2 = gguf(tensors=("two",), keys=(("split.no", 1), ("split.count", 2)))
FILES = {"/small.gguf": SMALL, "/large.gguf": LARGE, "/cut.gguf": LARGE[:-1], "/short.gguf": LARGE[:1000],
         "/p-00001-of-00002.gguf": PART_1, "/p-00002-of-00002.gguf": PART_2,
         "/lost-00001-of-00002.gguf": PART_1, "/none.gguf": b"",
         "/a/b/resolve/main/x/m%20-Q4_K_M.gguf": SMALL, "/a/b/resolve/main/m-Q8_0.gguf": LARGE}
API = {"siblings": [{"rfilename": "m-Q8_0.gguf"}, {"rfilename": "x/m -Q4_K_M.gguf"}]}
PAGE = b"<!DOCTYPE html>\n<html><body>a page</body></html>\n"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        server.seen.append((self.path, self.headers.get("Range"),
                            self.headers.get("Authorization")))
        path = self.path.split("?")[0]
        special = getattr(self, "get_" + path.strip("/").split(".")[0].split("/")[0], None)
        if server.status:
            self.reply(server.status, b"busy")
        elif special:
            special(path)
        elif path in FILES:
            self.reply_range(FILES[path])
        else:
            self.reply(404, PAGE, type="text/html")

    def reply(self, code, body, type="application/octet-stream", **headers):
        self.send_response(code)
        self.send_header("Content-Type", type)
        self.send_header("Content-Length", str(headers.pop("length", len(body))))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:
            self.close_connection = True

    def asked(self, size):
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        return int(first), min(int(last), size - 1)

    def reply_range(self, data, **headers):
        first, last = self.asked(len(data))
        if first >= len(data):
            return self.reply(416, b"")
        etag = headers.pop("ETag", self.server.etag)
        total = headers.pop("total", len(data))
        return self.reply(206, data[first:last + 1], ETag=etag,
                          Content_Range=f"bytes {first}-{last}/{total}", **headers)

    # ---- servers that are not as they should be ----

    def get_whole(self, _):
        self.reply(200, LARGE)

    def get_page(self, _):
        self.reply(200, PAGE, type="text/html; charset=utf-8")

    def get_hidden_page(self, _):
        self.reply_range(PAGE)

    def get_private(self, _):
        if self.headers.get("Authorization") == "Bearer hf_secret":
            self.reply_range(SMALL)
        else:
            self.reply(401, b"no")

    def get_hop(self, path):
        n = int(path.split("/")[2])
        self.reply(302, b"", Location=f"/hop/{n - 1}" if n > 1 else "/small.gguf")

    def get_away(self, _):
        self.reply(302, b"", Location=self.server.other + "/private.gguf")

    def get_file(self, _):
        self.reply(302, b"", Location="file:///etc/hostname")

    def get_truncated(self, _):
        self.close_connection = True
        first, last = self.asked(len(LARGE))
        self.reply(206, LARGE[first:last - 999], length=last + 1 - first,
                   Content_Range=f"bytes {first}-{last}/{len(LARGE)}")

    def get_fewer(self, _):
        first, last = self.asked(len(LARGE))
        self.reply(206, LARGE[first:last - 999],
                   Content_Range=f"bytes {first}-{last}/{len(LARGE)}")

    def get_elsewhere(self, _):
        self.reply(206, LARGE[:10], Content_Range=f"bytes 100-109/{len(LARGE)}")

    def get_sizeless(self, _):
        self.reply(206, LARGE[:10], Content_Range="bytes 0-9/*")

    def get_smaller(self, _):
        """Says that the file ends before its tensors."""
        size = len(SMALL) - 32
        self.reply(206, SMALL[:size], Content_Range=f"bytes 0-{size - 1}/{size}")

    def get_changing(self, _):
        first, _last = self.asked(len(LARGE))
        self.reply_range(LARGE, ETag=f'"{first}"')

    def get_endless(self, _):
        first, last = self.asked(1 << 40)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{1 << 40}")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        chunk = b"4000\r\n" + bytes(0x4000) + b"\r\n"
        try:
            while not self.server.is_over.is_set():
                self.wfile.write(chunk)
        except ConnectionError:
            pass
        self.close_connection = True

    def get_bottomless(self, _):
        """A header that never ends: a vocabulary of 16 million words in a file of 1 TiB."""
        head = gguf(0, said=16_000_000)
        first, last = self.asked(1 << 40)
        start = head[:head.index(b"tokenizer.ggml.tokens") + 21 + 16]
        word = text("x" * 56)  # 64 bytes
        data = start[first:] if first < len(start) else b""
        at = first + len(data)
        shift = (at - len(start)) % 64
        n = last + 1 - at
        data += (word * (n // 64 + 2))[shift:shift + n]
        self.reply(206, data, Content_Range=f"bytes {first}-{last}/{1 << 40}")

    def get_silent(self, _):
        self.server.is_over.wait(30)
        self.close_connection = True

    def get_drip(self, _):
        """Some bytes a second, so that the connection is never idle."""
        self.close_connection = True
        first, last = self.asked(len(LARGE))
        self.reply(206, b"", length=last + 1 - first,
                   Content_Range=f"bytes {first}-{last}/{len(LARGE)}")
        for byte in LARGE[first:last + 1]:
            try:
                self.wfile.write(bytes([byte]))
            except ConnectionError:
                return
            if self.server.is_over.wait(0.05):
                return

    def get_api(self, path):
        if path == "/api/models/a/b":
            self.reply(200, json.dumps(API).encode(), type="application/json")
        elif path == "/api/models/a/long":
            self.reply(200, b'{"siblings": [' + bytes(8 << 20))
        elif path == "/api/models/a/safe":
            self.reply(200, b'{"siblings": [{"rfilename": "model.safetensors"}]}')
        else:
            self.reply(401, b"{}")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen, self.etag, self.status, self.other = [], '"1"', 0, ""
        self.is_over = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self.thread.start()

    def handle_error(self, *_):
        """A client that hangs up is what many of these tests are about."""

    def close(self):
        self.is_over.set()
        self.shutdown()
        self.thread.join()
        self.server_close()


@unittest.skipUnless(BIN, "SNUG_BIN is not set")
class Url(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="snug-test-")
        self.addCleanup(self.folder.cleanup)
        self.server = Server()
        self.addCleanup(lambda: self.server.close())

    def inspect(self, path, **env):
        url = path if path.startswith(("hf:", "http")) else self.server.url + path
        env = {"PATH": os.environ["PATH"], "HOME": self.folder.name, "no_proxy": "*",
               "XDG_CACHE_HOME": self.folder.name, "HF_ENDPOINT": self.server.url,
               "SNUG_HTTP_STALL_S": "1", **env}
        return subprocess.run([BIN, "inspect", url, "--json"], env=env, text=True, timeout=120,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)

    def opens(self, path, **env):
        ran = self.inspect(path, **env)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        return json.loads(ran.stdout)

    def refuses(self, path, *words, **env):
        ran = self.inspect(path, **env)
        self.assertNotEqual(ran.returncode, 0, ran.stdout)
        self.assertGreater(ran.returncode, 0, "a signal")
        self.assertEqual(ran.stdout, "")
        self.assertEqual(len(ran.stderr.splitlines()), 1, ran.stderr)
        for word in words:
            self.assertIn(word, ran.stderr)

    # ---- what works ----

    def test_only_the_header_is_fetched_in_growing_pieces(self):
        model = self.opens("/large.gguf")
        self.assertEqual(model["n_layer"], 3)
        self.assertEqual(model["n_vocab"], 100_000)
        self.assertEqual(model["bytes_file"], len(LARGE))
        self.assertFalse(model["has_data"])
        self.assertEqual(model["path"], self.server.url + "/large.gguf")
        ranges = [seen[1] for seen in self.server.seen]
        self.assertEqual(ranges[:3], [f"bytes=0-{PIECE - 1}", f"bytes={PIECE}-{2 * PIECE - 1}",
                                      f"bytes={2 * PIECE}-{4 * PIECE - 1}"])
        self.assertEqual(len(ranges), 5)

    def test_query_and_redirects(self):
        self.assertEqual(self.opens("/small.gguf?download=true")["n_layer"], 3)
        self.assertEqual(self.opens("/hop/5")["n_layer"], 3)
        self.refuses("/hop/6", "more than 5 redirects")
        self.refuses("/file.gguf", "no http or https")

    def test_split_model(self):
        model = self.opens("/p-00002-of-00002.gguf")
        self.assertEqual(model["n_splits"], 2)
        self.assertEqual([t["name"] for t in model["tensors"]], ["one", "two"])
        self.refuses("/lost-00001-of-00002.gguf", "part 2 of 2", "404")

    def test_cache_is_revalidated(self):
        first = self.opens("/large.gguf")
        self.server.seen.clear()
        self.assertEqual(self.opens("/large.gguf"), first)
        self.assertEqual([seen[1] for seen in self.server.seen], ["bytes=0-23"])
        self.server.etag = '"2"'
        self.server.seen.clear()
        self.assertEqual(self.opens("/large.gguf"), first)
        self.assertEqual(len(self.server.seen), 6)

    def test_cache_stands_in_without_a_server(self):
        first = self.opens("hf:a/b")
        self.server.status = 503
        ran = self.inspect("hf:a/b")
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertIn("note:", ran.stderr)
        kept = json.loads(ran.stdout)
        self.assertIn("kept", kept.pop("note"))
        self.assertEqual(kept, first)
        url = self.server.url
        self.server.close()
        self.server.close = lambda: None
        ran = self.inspect("hf:a/b", HF_ENDPOINT=url)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.refuses(url + "/small.gguf", "no connection")

    def test_damaged_cache_is_as_none(self):
        self.opens("/small.gguf")
        folder = os.path.join(self.folder.name, "snug", "headers")
        (name,) = os.listdir(folder)
        for damage in (b"", b"{}\n", b"nonsense", b'{"format":1}\nGGUF'):
            with open(os.path.join(folder, name), "wb") as file:
                file.write(damage)
            self.assertEqual(self.opens("/small.gguf")["n_layer"], 3)

    # ---- the hub ----

    def test_hub_names(self):
        self.assertEqual(self.opens("hf:a/b")["n_vocab"], 10)
        self.assertIn("/a/b/resolve/main/x/m%20-Q4_K_M.gguf", [s[0] for s in self.server.seen])
        self.assertEqual(self.opens("hf:a/b:q8_0")["n_vocab"], 100_000)
        self.refuses("hf:a/b:Q2_K", "no GGUF file of Q2_K", "m-Q8_0.gguf")
        self.refuses("hf:a/safe", "has no GGUF file")
        self.refuses("hf:no/such", "HF_TOKEN")
        self.refuses("hf:a/long", "more than the 8388608 bytes asked for")
        self.refuses("hf:a", "hf:USER/REPO")

    def test_token_goes_to_the_hub_alone(self):
        self.refuses("/private.gguf", "401", "HF_TOKEN")
        self.assertEqual(self.opens("/private.gguf", HF_TOKEN="hf_secret")["n_layer"], 3)
        self.refuses("/private.gguf", "401", HF_TOKEN="hf_secret",
                     HF_ENDPOINT="http://127.0.0.1:1")
        other = Server()
        self.addCleanup(other.close)
        self.server.other = other.url
        self.refuses("/away.gguf", "401", HF_TOKEN="hf_secret")
        self.assertEqual(self.server.seen[-1][2], "Bearer hf_secret")
        self.assertEqual([seen[2] for seen in other.seen], [None])

    # ---- what is refused ----

    def test_no_range_support(self):
        self.refuses("/whole.gguf", "does not support range requests")

    def test_web_pages(self):
        self.refuses("/page.gguf", "looks like HTML", "/resolve/")
        self.refuses("/hidden_page.gguf", "looks like HTML")
        self.refuses("/nosuch.gguf", "404")

    def test_lies_about_length(self):
        self.refuses("/truncated.gguf", "connection ended before")
        self.refuses("/fewer.gguf", "truncated")
        self.refuses("/elsewhere.gguf", "100 to 109")
        self.refuses("/sizeless.gguf", "size of the file")
        self.refuses("/smaller.gguf", "truncated")
        self.refuses("/changing.gguf", "changed while it was read")
        self.refuses("/short.gguf", "truncated")
        self.refuses("/cut.gguf", "truncated")
        self.refuses("/none.gguf", "416")

    def test_endless(self):
        self.refuses("/endless.gguf", "more than the 262144 bytes asked for")

    def test_header_without_end_is_cut_at_the_cap(self):
        self.refuses("/bottomless.gguf", "67108864 bytes")
        last = self.server.seen[-1][1].split("-")[1]
        self.assertEqual(int(last), (64 << 20) - 1)

    def test_silent_and_gone(self):
        self.refuses("/silent.gguf", "too slow")
        self.refuses("/drip.gguf", "too slow")
        self.refuses("http://127.0.0.1:1/m.gguf", "no connection")
        self.refuses("http://", "URL")


if __name__ == "__main__":
    unittest.main()
