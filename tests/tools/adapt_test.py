"""snug run --adapt: requests go on while configs change, with llama-server and with a server of ours
that dies, waits and breaks off when it is told to."""
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest

BIN = os.environ.get("SNUG_BIN", "")
DATA = os.environ.get("SNUG_TEST_DATA", "")
MODEL = os.path.join(DATA, "gguf", "tales7m-f16.gguf")
PATIENCE_S = 30.0  # only a test that fails ever waits so long
TICK_S = 0.02

# What stands in for llama-server. The request says what to do; files in $STAGE are its memory.
ACTOR = '''#!{python}
import http.server, json, os, select, socket, sys, time
STAGE = os.environ["STAGE"]
def path(name): return os.path.join(STAGE, name)
def once(name):
    try: os.close(os.open(path(name), os.O_CREAT | os.O_EXCL)); return True
    except FileExistsError: return False
def note(name): open(path(name), "w").close()
threads = sys.argv[sys.argv.index("--threads") + 1]
ubatch = sys.argv[sys.argv.index("--ubatch-size") + 1]
if os.path.exists(path("broken-" + threads)): sys.exit("no luck with " + threads)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def reply(self, code, body, **headers):
        self.send_response(code)
        for key, value in headers.items(): self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD": self.wfile.write(body)
    def do_GET(self):
        variables = [name for name in os.environ if name.startswith("LLAMA_")]
        echo = json.dumps({{"path": self.path, "headers": dict(self.headers.items()),
                           "variables": variables}}).encode()
        self.reply(200, echo, X_Actor="yes", Content_Type="application/json")
    do_HEAD = do_GET
    def event(self, text):
        data = ("data: " + text + "\\n\\n").encode()
        self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(data), data))
        self.wfile.flush()
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        do = json.loads(body).get("do", "")
        if do == "die always" or do == "die" and once("died"): os._exit(3)
        if do == "await end":
            note("waiting")
            select.select([self.connection], [], [])
            note("left" if self.connection.recv(1, socket.MSG_PEEK) == b"" else "more")
            return
        if do == "crawl on two" and threads == "2":
            note("crawling")
            select.select([self.connection], [], [])
            note("left")
            return
        if do == "timed":
            with open(path("ms-" + ubatch)) as file: ms = float(file.read())
            timings = {{"prompt_n": 1, "prompt_ms": ms, "predicted_n": 101, "predicted_ms": 100 * ms}}
            return self.reply(200, json.dumps({{"timings": timings}}, separators=(",", ":")).encode())
        if not do.startswith("stream"):
            return self.reply(418 if do == "teapot" else 200, body, Content_Type="text/plain")
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.event("one")
        while not os.path.exists(path("go")): time.sleep(0.01)
        if do == "stream and die": os._exit(3)
        self.event("two")
        self.wfile.write(b"0\\r\\n\\r\\n")
port = int(sys.argv[sys.argv.index("--port") + 1])
print("idle", file=sys.stderr, flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
'''


def wait_for(what, condition):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(TICK_S)
    raise AssertionError("never came: " + what)


def is_alive(pid):
    """Neither gone nor waiting to be reaped by whoever inherited it."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Adapting:
    """A running snug run --adapt."""

    def __init__(self, store, folder, *options, actor=False, log=None, variables=()):
        self.folder = folder
        self.log = log or os.path.join(folder, "log.jsonl")
        self.caps = os.path.join(folder, "caps.json")
        env = {key: value for key, value in os.environ.items() if not key.startswith("SNUG_")}
        env.update(variables, HOME=folder, STAGE=folder)
        if actor:
            tool = os.path.join(folder, "llama-server")
            with open(tool, "w", encoding="utf-8") as file:
                file.write(ACTOR.format(python=sys.executable))
            os.chmod(tool, stat.S_IRWXU)
            env["SNUG_TOOLS"] = folder
        if not os.path.exists(self.caps):
            self.limit(cpus=1)
        command = [BIN, "run", MODEL, "--adapt", "--port", "0", "--store", store, "--log", self.log,
                   "--budget", self.caps, *options]
        self.err_path = os.path.join(folder, "err")
        with open(self.err_path, "wb") as err:
            self.process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=err)

    def __enter__(self):
        try:
            self.port = int(wait_for("a port", self.find_port)[1])
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def err(self):
        with open(self.err_path, encoding="utf-8") as file:
            return file.read()

    def find_port(self):
        if self.process.poll() is not None:
            raise AssertionError("ended: " + self.err())
        return re.search(r"http://127\.0\.0\.1:(\d+)", self.err())

    def limit(self, **caps):
        """Whole or not at all, as any program should write it."""
        with open(self.caps + ".new", "w", encoding="ascii") as file:
            json.dump(caps, file)
        os.replace(self.caps + ".new", self.caps)

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def ask(self, method, path, body=None, **headers):
        """(status, headers, body) of a request on a connection of its own."""
        connection = self.connect()
        try:
            connection.request(method, path, body if body is None or isinstance(body, bytes)
                               else json.dumps(body), headers)
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read()
        finally:
            connection.close()

    def status(self):
        return json.loads(self.ask("GET", "/snug/status")[2])

    def serving(self):
        return next((s for s in self.status()["servers"] if s["state"] == "serving"), None)

    def wait_serving(self, trial=None):
        return wait_for(f"trial {trial} serving", lambda: (
            (s := self.serving()) and (trial is None or s["trial"] == trial) and s))

    def events(self):
        with open(self.log, encoding="utf-8") as file:
            return [json.loads(line)["event"] for line in file if line.endswith("\n")]

    def wait_event(self, name):
        wait_for(name, lambda: name in self.events())

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE_S)

    def wait_file(self, name):
        wait_for(name, lambda: os.path.exists(os.path.join(self.folder, name)))

    def put_file(self, name, text=""):
        path = os.path.join(self.folder, name)
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write(text)
        os.replace(path + ".new", path)

    def begin_stream(self):
        """(connection, reply) of an answer that goes on until the file "go" is there."""
        connection = self.connect()
        connection.request("POST", "/v1/completions", json.dumps({"do": "stream"}))
        reply = connection.getresponse()
        assert reply.readline() == b"data: one\n"
        return connection, reply


class Client(threading.Thread):
    """Asks without end, every second time for a stream, and keeps what went wrong."""

    def __init__(self, server, number):
        super().__init__(daemon=True)
        self.server, self.number = server, number
        self.n, self.failures = 0, []
        self.is_over = threading.Event()

    def run(self):
        while not self.is_over.is_set():
            is_stream = self.n % 2 == 1
            question = {"prompt": f"{self.number} times {self.n} there was", "max_tokens": 24,
                        "stream": is_stream, "ignore_eos": True}
            try:
                code, _, body = self.server.ask("POST", "/v1/completions", question,
                                                **{"Content-Type": "application/json"})
                good = body.endswith(b"data: [DONE]\n\n") if is_stream else b'"text"' in body
                if code != 200 or not good or b'"error"' in body:
                    self.failures.append((code, body[-300:]))
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
            self.n += 1


class WithHistory(unittest.TestCase):
    """Trials 1 and 2, of two configs, as a quiet machine would have them, whatever else ran."""
    CONFIGS = ()

    @classmethod
    def setUpClass(cls):
        cls.home = tempfile.TemporaryDirectory(prefix="snug-adapt-")
        cls.store = os.path.join(cls.home.name, "history.db")
        for threads, ubatch in cls.CONFIGS:
            subprocess.run([BIN, "bench", MODEL, "-p", "64", "-n", "8", "-c", "2048", "-r", "2",
                            "--n-threads", threads, "--n-ubatch", ubatch, "--store", cls.store],
                           env=dict(os.environ, HOME=cls.home.name), check=True, timeout=120,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with sqlite3.connect(cls.store) as history:
            history.execute("UPDATE trials SET prefill_tps = 1000, decode_tps = 100")
            history.execute("UPDATE conditions SET other_load_frac = 0")
        history.close()

    @classmethod
    def tearDownClass(cls):
        cls.home.cleanup()

    def start(self, *options, actor=True, store=None, **how):
        folder = tempfile.TemporaryDirectory(prefix="snug-adapt-")
        self.addCleanup(folder.cleanup)
        server = Adapting(store or self.store, folder.name, *options, actor=actor, **how)
        self.addCleanup(server.__exit__)
        return server


@unittest.skipUnless(os.path.exists(MODEL), "SNUG_TEST_DATA has no tales7m-f16.gguf")
class AdaptTest(WithHistory):
    """Trial 1 needs more memory and runs on one thread, trial 2 less and on two."""
    CONFIGS = (("1", "512"), ("2", "32"))

    def test_no_request_fails_while_configs_change(self):
        with self.start(actor=False) as server:
            server.wait_serving(1)  # one CPU is free: two threads would stand in each other's way
            needs = {m["trial"]: m["bytes"] for m in server.status()["members"]}
            self.assertLess(needs[2], needs[1])
            clients = [Client(server, number) for number in range(3)]
            for client in clients:
                client.start()
            server.limit(cpus=1, memory_bytes=(needs[1] + needs[2]) // 2)
            server.wait_serving(2)  # the first does not fit any more: it ends, then this one starts
            self.assertIn("stop", server.events())
            n_cold = len(server.events())
            n_asked = sum(client.n for client in clients)
            server.limit(cpus=1)
            server.wait_serving(1)  # both fit: the new one starts beside the old
            self.assertNotIn("stop", server.events()[n_cold:])
            wait_for("requests after the changes",
                     lambda: sum(client.n for client in clients) > n_asked + 10)
            for client in clients:
                client.is_over.set()
            for client in clients:
                client.join(PATIENCE_S)
            self.assertEqual([], sum((client.failures for client in clients), []))
            wait_for("the old server's end", lambda: len(server.status()["servers"]) == 1)
            status = server.status()
            self.assertEqual((2, 0), (status["switches"], status["failed"]))
            self.assertEqual(0, server.stop())
            self.assertRegex(server.err(), r"\d+ requests served, 0 failed, .* 2 switches")

    def leave_a_crawling_server(self, room):
        """room: memory for the next config, as so much of its need; None: no limit."""
        with self.start() as server:
            server.wait_serving(1)
            needs = {m["trial"]: m["bytes"] for m in server.status()["members"]}
            server.limit(cpus=1, memory_bytes=(needs[1] + needs[2]) // 2)
            server.wait_serving(2)  # two threads on one CPU, since nothing else fits
            answers = []
            asking = threading.Thread(daemon=True, target=lambda: answers.append(
                server.ask("POST", "/v1/completions", {"do": "crawl on two"})))
            asking.start()
            server.wait_file("crawling")
            n_before = len(server.events())
            server.limit(cpus=1, **({"memory_bytes": int(room * needs[1])} if room else {}))
            asking.join(PATIENCE_S)
            server.wait_file("left")
            self.assertEqual(200, answers[0][0])
            status = server.status()
            self.assertEqual((0, 1), (status["failed"], status["retried"]))
            self.assertEqual(room is not None, "stop" in server.events()[n_before:])

    def test_a_request_leaves_a_server_that_crawls_for_one_beside_it(self):
        self.leave_a_crawling_server(None)

    def test_a_request_leaves_a_server_that_crawls_for_one_that_waits_for_its_end(self):
        self.leave_a_crawling_server(1.1)

    def test_chat_models_and_errors_are_llama_servers_own(self):
        with self.start(actor=False) as server:
            server.wait_serving()
            code, _, body = server.ask("POST", "/v1/chat/completions", {
                "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4})
            self.assertEqual((200, "assistant"),
                             (code, json.loads(body)["choices"][0]["message"]["role"]))
            self.assertEqual(200, server.ask("GET", "/v1/models")[0])
            code, _, body = server.ask("POST", "/v1/completions", b"{")
            self.assertIn("error", json.loads(body))
            self.assertGreaterEqual(code, 400)

    def test_kill_leaves_no_server(self):
        with self.start(actor=False) as server:
            pid = server.wait_serving()["pid"]
            with open(f"/proc/{pid}/status", encoding="ascii") as file:
                ignored = int(re.search(r"SigIgn:\s*(\w+)", file.read())[1], 16)
            self.assertFalse(ignored >> (signal.SIGXFSZ - 1) & 1)  # snug ignores it, not its servers
            server.process.kill()
            server.process.wait()
            wait_for("the end of llama-server", lambda: not is_alive(pid))

    def test_events_arrive_as_they_are_made(self):
        with self.start() as server:
            server.wait_serving()
            connection, reply = server.begin_stream()  # the second event is not made yet
            server.put_file("go")
            self.assertEqual(b"\ndata: two\n\n", reply.read())
            connection.close()

    def test_requests_pass_through_unchanged(self):
        with self.start() as server:
            server.wait_serving()
            code, headers, body = server.ask("GET", "/a%2Fb?c=%20d&e", X_Mine="1")
            said = json.loads(body)
            self.assertEqual((200, "yes", "/a%2Fb?c=%20d&e", "1"),
                             (code, headers["X-Actor"], said["path"], said["headers"]["X_Mine"]))
            code, headers, body = server.ask("HEAD", "/x")
            self.assertEqual((200, b""), (code, body))
            self.assertGreater(int(headers["Content-Length"]), 0)
            self.assertEqual(418, server.ask("POST", "/x", {"do": "teapot"})[0])
            large = json.dumps({"x": "y" * (1 << 20)}).encode()
            self.assertEqual(large, server.ask("POST", "/x", large)[2])

    def test_options_in_variables_do_not_reach_the_server(self):
        variables = {"LLAMA_ARG_API_PREFIX": "/v2", "LLAMA_ARG_THREADS": "7", "LLAMA_API_KEY": "x"}
        with self.start(variables=variables) as server:
            server.wait_serving()
            self.assertEqual(["LLAMA_API_KEY"], json.loads(server.ask("GET", "/x")[2])["variables"])
            self.assertIn("LLAMA_ARG_THREADS is not passed on", server.err())

    def tuned(self, limits, *changes):
        """A history in which a tuning with these limits came to its end."""
        store = shutil.copy(self.store, os.path.join(self.home.name, "tuned.db"))
        with sqlite3.connect(store) as history:
            for change in changes:
                history.execute("UPDATE trials SET " + change)
            history.execute(
                "INSERT INTO sessions(task_id, kind, options_json, result_json, owner,"
                " started_unix_s, finished_unix_s) VALUES(1, 'tune', '{}', ?, '', 0, 1)",
                (json.dumps({"objective": "request", "limits": limits}),))
        history.close()
        return store

    def test_limits_of_the_last_tuning_hold(self):
        """The first is the better one on one CPU, and is over the limit."""
        store = self.tuned({"max-tpot": 0.09}, "tpot_p50_s = 0.01, tpot_p95_s = 0.01",
                           "tpot_p50_s = 0.1 WHERE id = 1")
        with self.start(store=store) as server:
            server.wait_serving(2)
        with self.start("--tpot", "10s", store=store) as server:
            server.wait_serving(1)

    def test_cache_types_keep_the_limit_of_the_last_tuning(self):
        """What their price is nobody knows."""
        other = """config_json = replace(config_json, '"type_k":"f16"', '"type_k":"q8_0"') WHERE id = 2"""
        for limits, trials in (({}, [1, 2]), ({"max-kld": 0.1}, [1])):
            with self.start("--allow-cache-types", store=self.tuned(limits, other)) as server:
                self.assertEqual(trials, sorted(m["trial"] for m in server.status()["members"]))
        with self.start(store=self.tuned({}, other)) as server:
            self.assertEqual([1], [m["trial"] for m in server.status()["members"]])

    def test_a_server_that_dies_costs_no_request(self):
        with self.start() as server:
            first = server.wait_serving()["pid"]
            code, _, body = server.ask("POST", "/x", {"do": "die"})
            self.assertEqual((200, {"do": "die"}), (code, json.loads(body)))
            self.assertNotEqual(first, server.wait_serving()["pid"])
            status = server.status()
            self.assertEqual((1, 0), (status["retried"], status["failed"]))
            self.assertIn("died", server.events())

    def test_a_request_that_kills_every_server_ends_after_two(self):
        with self.start() as server:
            server.wait_serving()
            code, _, body = server.ask("POST", "/x", {"do": "die always"})
            self.assertEqual(502, code)
            self.assertIn("two servers", json.loads(body)["error"]["message"])
            self.assertEqual(1, server.status()["failed"])
            self.assertEqual(200, server.ask("POST", "/x", {"do": "echo"})[0])  # waits for the next

    def test_a_stream_that_breaks_ends_with_an_error_event(self):
        with self.start() as server:
            server.wait_serving()
            server.put_file("go")
            code, _, body = server.ask("POST", "/x", {"do": "stream and die"})
            events = [line[6:] for line in body.decode().split("\n") if line.startswith("data: ")]
            self.assertEqual((200, "one"), (code, events[0]))
            self.assertEqual(502, json.loads(events[-1])["error"]["code"])

    def test_a_client_that_leaves_ends_its_request(self):
        with self.start() as server:
            server.wait_serving()
            connection = server.connect()
            connection.request("POST", "/x", json.dumps({"do": "await end"}))
            server.wait_file("waiting")
            connection.close()
            server.wait_file("left")
            wait_for("the count", lambda: server.status()["gone"] == 1)

    def test_stop_lets_requests_end(self):
        with self.start() as server:
            server.wait_serving()
            connection, reply = server.begin_stream()
            server.process.send_signal(signal.SIGINT)
            wait_for("the word", lambda: "Ctrl-C again ends at once" in server.err())
            server.put_file("go")
            self.assertEqual(b"\ndata: two\n\n", reply.read())
            self.assertEqual(0, server.process.wait(PATIENCE_S))
            connection.close()

    def test_stop_twice_ends_at_once(self):
        with self.start() as server:
            server.wait_serving()
            connection, _ = server.begin_stream()
            server.process.send_signal(signal.SIGINT)
            wait_for("the word", lambda: "stopping" in server.err())
            server.process.send_signal(signal.SIGINT)
            self.assertEqual(128 + signal.SIGINT, server.process.wait(PATIENCE_S))
            self.assertTrue(server.err().endswith("\nsnug: stopped at once\n"), server.err())
            connection.close()

    def test_a_server_that_drains_does_not_keep_the_next_one_out(self):
        """Nothing serves, what drains and the next do not fit together."""
        with self.start() as server:
            server.wait_serving(1)
            needs = {m["trial"]: m["bytes"] for m in server.status()["members"]}
            server.limit(cpus=1, memory_bytes=(needs[1] + needs[2]) // 2)
            server.wait_serving(2)
            connection, reply = server.begin_stream()
            server.limit(cpus=1)
            pid = server.wait_serving(1)["pid"]
            server.put_file("broken-1")
            server.put_file("broken-2")
            os.kill(pid, signal.SIGKILL)
            server.wait_event("wait")  # both failed a moment ago
            self.assertIn("ended by signal 9 (Killed); its requests without", server.err())
            status = server.status()
            self.assertEqual((None, True), (status["member"], status["fits"]))
            self.assertNotIn("hurry", server.events())
            server.limit(cpus=1, memory_bytes=needs[1])
            os.remove(os.path.join(server.folder, "broken-1"))
            server.wait_event("hurry")
            self.assertNotIn("misfit", server.events())
            server.put_file("go")
            self.assertEqual(b"\ndata: two\n\n", reply.read())
            connection.close()
            server.wait_serving()

    def test_status_is_not_counted_and_tells_who_serves(self):
        with self.start() as server:
            server.wait_serving(1)
            status = server.status()
            self.assertEqual((0, 0, 0), (status["in_flight"], status["served"], status["refused"]))
            self.assertEqual((1, 1), (status["member"]["trial"], status["wanted"]["trial"]))
            self.assertEqual(200, server.ask("POST", "/x", {"do": "echo"})[0])
            wait_for("the count", lambda: server.status()["served"] == 1)

    def test_a_log_that_cannot_be_written_is_said_once(self):
        with self.start(log="/dev/full") as server:
            server.wait_serving()
            self.assertEqual(200, server.ask("POST", "/x", {"do": "die"})[0])
            self.assertEqual(0, server.stop())
            self.assertEqual(1, server.err().count("the log cannot be written: No space left"))

    def test_bodies_too_large_together_are_refused(self):
        with self.start() as server:
            server.wait_serving()
            with contextlib.ExitStack() as held:
                for _ in range(4):
                    raw = held.enter_context(
                        socket.create_connection(("127.0.0.1", server.port), PATIENCE_S))
                    raw.sendall(b"POST /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                                b"Content-Length: %d\r\n\r\n" % (16 << 20))
                    self.assertEqual(b"HTTP/1.1 100", raw.makefile("rb").readline()[:12])
                code, _, body = server.ask("POST", "/x", {"do": "echo"})
                self.assertEqual(503, code)
                self.assertIn("64 MiB", json.loads(body)["error"]["message"])
                self.assertEqual(200, server.ask("GET", "/x")[0])  # no body
                self.assertEqual(1, server.status()["refused"])
            wait_for("room", lambda: server.ask("POST", "/x", {"do": "echo"})[0] == 200)

    def test_what_is_too_large_is_refused(self):
        with self.start() as server:
            server.wait_serving()
            for length, code in ((16 << 20, 200), ((16 << 20) + 1, 413)):
                with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as raw:
                    raw.sendall(b"POST /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                                b"Content-Length: %d\r\n\r\n" % length)
                    if code == 200:
                        raw.sendall(b'{"x":"' + b"y" * (length - 8) + b'"}')
                    self.assertEqual(b"HTTP/1.1 %d" % code, raw.makefile("rb").readline()[:12])
            self.assertEqual(400, server.ask("GET", "http://elsewhere/")[0])
            self.assertEqual(400, server.ask("GET", "/" + "x" * 8190)[0])
            self.assertEqual(200, server.ask("GET", "/" + "x" * 8189)[0])
            self.assertEqual(404, server.ask("GET", "/snug/other")[0])
            self.assertEqual(405, server.ask("POST", "/snug/status", b"")[0])

    def test_a_config_that_does_not_start_is_left_for_another(self):
        with self.start() as server:
            server.wait_serving(1)
            server.put_file("broken-1")
            self.assertEqual(200, server.ask("POST", "/x", {"do": "die"})[0])
            self.assertEqual(2, server.serving()["trial"])

    def test_no_config_that_starts_is_an_error(self):
        folder = tempfile.TemporaryDirectory(prefix="snug-adapt-")
        self.addCleanup(folder.cleanup)
        for threads in "12":
            open(os.path.join(folder.name, "broken-" + threads), "w").close()
        server = Adapting(self.store, folder.name, actor=True)
        self.assertEqual(1, server.process.wait(PATIENCE_S))
        self.assertRegex(server.err(), "llama-server does not start: .*no luck with")

    def test_limits_that_are_spoilt_stay_as_they_were(self):
        with self.start() as server:
            server.wait_serving(1)
            with open(server.caps, "w", encoding="ascii") as file:
                file.write('{"cpus": ')
            wait_for("the word", lambda: "stay as they were" in server.err())
            server.limit(cpus=-1)  # spoilt in another way
            wait_for("the word", lambda: "cpus must be a number above 0" in server.err())
            self.assertLessEqual(server.status()["budget"]["cpus_free"], 1)

    def test_a_port_in_use_is_said(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            server = self.start("--port", str(taken.getsockname()[1]))
            self.assertEqual(1, server.process.wait(PATIENCE_S))
            self.assertIn("choose another with --port", server.err())


@unittest.skipUnless(os.path.exists(MODEL), "SNUG_TEST_DATA has no tales7m-f16.gguf")
class ObservedSpeedTest(WithHistory):
    """Both on one thread, so that other programs slow them alike; trial 1 promises 100 tokens/s,
    trial 2 80."""
    CONFIGS = (("1", "512"), ("1", "32"))

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with sqlite3.connect(cls.store) as history:
            history.execute("UPDATE trials SET decode_tps = 80 WHERE id = 2")
        history.close()

    def ask_until(self, server, what, condition):
        def ask():
            self.assertEqual(200, server.ask("POST", "/x", {"do": "timed"})[0])
            return condition(server.status())
        return wait_for(what, ask)

    def test_a_config_slower_than_measured_is_left_for_good(self):
        with self.start() as server:
            server.limit(memory_bytes=1 << 40)
            server.put_file("ms-512", "10")
            server.put_file("ms-32", "12.5")
            server.wait_serving(1)
            seen = self.ask_until(server, "an observed speed", lambda s: (
                (m := s["member"]) and m["decode"]["observed_tps"] and m["decode"]))
            self.assertAlmostEqual(100, seen["observed_tps"])
            self.assertLessEqual(seen["predicted_tps"], 100.001)  # less where others are busy
            server.put_file("ms-512", "80")
            self.ask_until(server, "a change", lambda s: s["switches"] == 1 and s["member"])
            self.assertEqual(2, server.wait_serving()["trial"])
            self.assertRegex(server.err(), r"starting .*the present one at 0\.\d+ of its trials' speed")
            status = self.ask_until(server, "its speed", lambda s: (
                (m := s["member"]) and m["decode"]["observed_tps"] == 80 and s))
            left = next(m for m in status["members"] if m["trial"] == 1)
            self.assertLess(left["speed_expected"], 0.5 * left["speed_predicted"])
            self.assertEqual(1, status["switches"])

    def test_llama_servers_own_timings_are_read(self):
        with self.start(actor=False) as server:
            server.limit(memory_bytes=1 << 40)
            server.wait_serving()
            for is_stream in (False, True):
                n_before = self.weight(server)
                wait_for("more seen", lambda stream=is_stream, n=n_before: (
                    self.complete(server, stream) and self.weight(server) != n))

    def complete(self, server, is_stream):
        return server.ask("POST", "/v1/completions", {
            "prompt": "there was", "max_tokens": 400, "stream": is_stream, "ignore_eos": True})

    def weight(self, server):
        return [(m["decode"]["observed_tps"], m["decode"]["ratio"]) for m in server.status()["members"]]


if __name__ == "__main__":
    unittest.main()
