#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""Takes each example through several upgrades while a client uses it.

usage: test-examples.py FOLDER-OF-THE-BUILT-PROGRAMS EXAMPLE...
"""

import base64
import os
import queue
import re
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

PATIENCE = 30  # seconds, for whatever must come; a busy machine takes its time
LOOPBACK = "127.0.0.1"


def check(condition, *words):
    if not condition:
        raise AssertionError(" ".join(str(word) for word in words))


class Service:
    """An example, all its generations. They share one pipe for their log; reading it is how we wait."""

    def __init__(self, program, *arguments, address=True):
        self.folder = tempfile.mkdtemp(prefix="tableflip-example-")
        self.pid_file = os.path.join(self.folder, "pid")
        words = [program] + ([LOOPBACK + ":0"] if address else []) + [a.replace("FOLDER", self.folder) for a in arguments]
        reader, writer = os.pipe()
        # A process group of its own: whatever is left of it at the end was started by us.
        self.first = subprocess.Popen(words, stderr=writer, stdin=subprocess.DEVNULL, start_new_session=True)
        os.close(writer)
        self.lines, self.transcript, self.excused = queue.Queue(), [], set()
        threading.Thread(target=self._read, args=(reader,), daemon=True).start()
        self.pid, self.port = self.first.pid, None
        try:
            self.line(r"\bserving")
            if address:
                self.port = int(self.line(r"port=(\d+).* listening"))
        except BaseException:
            self._end()
            raise

    def _read(self, reader):
        with os.fdopen(reader, errors="replace") as lines:
            for line in lines:
                self.lines.put(line)
        self.lines.put(None)

    def line(self, *patterns):
        """Waits for a line that matches; returns its group."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                line = self.lines.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line {patterns} in {PATIENCE} s")
            check(line is not None, "the service has ended instead of", patterns)
            self.transcript.append(line)
            for pattern in patterns:
                if match := re.search(pattern, line):
                    return match.group(1) if match.groups() else match.group(0)

    def begin_upgrade(self):
        """Up to the moment at which the new process is the owner."""
        for _ in range(5):
            start = len(self.transcript)
            os.kill(self.pid, signal.SIGHUP)
            # On a busy machine a pause may take longer than the second that it has; then nothing has happened.
            result = self.line(r"\bupgraded\b", r"upgrade failed.*")
            if result == "upgraded":
                break
            print("  ", result)
            check("pauseFailed" in result, result)
            self.excused.update(range(start, len(self.transcript)))
        check(result == "upgraded", result)
        old, self.pid = self.pid, int(re.search(r"successor=(\d+)", self.transcript[-1]).group(1))
        return old

    def end_upgrade(self):
        self.line("the predecessor has left")

    def upgrade(self):
        self.begin_upgrade()
        self.end_upgrade()

    def stop(self):
        os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while (line := self.lines.get(timeout=max(0, deadline - time.monotonic()))) is not None:
            self.transcript.append(line)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        try:
            if error is None:
                self.stop()
                for number, line in enumerate(self.transcript):
                    check(number in self.excused or "Fatal error" not in line and " error " not in line, line)
            else:
                sys.stdout.writelines(self.transcript[-40:])
        finally:
            self._end()

    def _end(self):
        try:
            os.killpg(self.first.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.first.wait(PATIENCE)
        shutil.rmtree(self.folder)


class Client(threading.Thread):
    """A client that goes on until it is told to finish, and whose failure is the test's."""

    def __init__(self, body, *arguments):
        super().__init__(daemon=True)
        self.finished, self.failure, self.result = threading.Event(), None, None
        self.progress = threading.Semaphore(0)
        self.body, self.arguments = body, arguments
        self.start()

    def run(self):
        try:
            self.result = self.body(self, *self.arguments)
        except BaseException:
            self.failure = traceback.format_exc()
            self.progress.release(1000)

    def step(self):
        """Called by the body after each thing done."""
        self.progress.release()

    def wait_for_progress(self, steps=3):
        """So many more things are done, whatever had been done before."""
        while self.progress.acquire(blocking=False):
            pass
        for _ in range(steps):
            check(self.progress.acquire(timeout=PATIENCE) and not self.failure, self.failure or "no progress")

    def finish(self):
        self.finished.set()
        self.join(PATIENCE)
        check(not self.is_alive(), "a client does not end")
        check(not self.failure, self.failure)
        return self.result


def connect(port):
    connection = socket.create_connection((LOOPBACK, port), PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def receive(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        check(more, "closed after", data)
        data += more
    return data


def through_upgrades(service, clients, count):
    for client in clients:
        client.wait_for_progress()
    for _ in range(count):
        service.upgrade()
        for client in clients:
            client.wait_for_progress()
    return [client.finish() for client in clients]


# MARK: One function for each example


def tcp_echo(bin):
    def body(client, port):
        with connect(port) as connection:
            number = 0
            while not client.finished.is_set():
                line = f"line {number} ".encode() * (1 + number % 50)
                connection.sendall(line)
                check(receive(connection, len(line)) == line, "another line came back")
                number += 1
                client.step()
            return number

    def resting(client, port):
        with connect(port) as connection:
            connection.sendall(b"before")
            check(receive(connection, 6) == b"before")
            client.step()
            client.finished.wait(PATIENCE * 4)
            connection.sendall(b"after")
            check(receive(connection, 5) == b"after")

    with Service(bin + "/tcp-echo", "FOLDER/pid") as service:
        idle = [Client(resting, service.port) for _ in range(20)]
        results = through_upgrades(service, [Client(body, service.port) for _ in range(4)], 5)
        for client in idle:
            client.finish()
        for _ in range(20):
            # Whoever leaves without having read everything has its answer refused (EPIPE).
            with connect(service.port) as rude:
                rude.sendall(bytes(1 << 16))
        with connect(service.port) as polite:
            polite.sendall(b"after")
            check(receive(polite, 5) == b"after")
        unready = subprocess.run(
            [bin + "/tcp-echo", LOOPBACK + ":0", "/nowhere/pid"], capture_output=True, text=True, timeout=PATIENCE)
        check(unready.returncode == 1 and "/nowhere/pid" in unready.stderr, unready)
        return f"{sum(results)} lines and 20 resting clients on connections that were never closed"


def udp_echo(bin):
    def body(client, port):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.connect((LOOPBACK, port))
            s.setblocking(False)
            sent, answers = 0, {}
            deadline = None
            while True:
                if select.select([s], [], [], 0.001)[0]:
                    number = int(s.recv(100))
                    answers[number] = answers.get(number, 0) + 1
                    client.step()
                elif client.finished.is_set():
                    deadline = deadline or time.monotonic() + PATIENCE
                    if len(answers) == sent or time.monotonic() > deadline:
                        break
                # So few that they fit into the socket's buffer, however long nobody reads.
                if not client.finished.is_set() and sent - len(answers) < 100:
                    s.send(str(sent).encode())
                    sent += 1
            check(len(answers) == sent, sent - len(answers), "of", sent, "unanswered")
            check(all(count == 1 for count in answers.values()), "answered twice")
            return sent

    with Service(bin + "/udp-echo", "FOLDER/pid") as service:
        (sent,) = through_upgrades(service, [Client(body, service.port)], 5)
        return f"{sent} datagrams, each answered once"


def http_async(bin):
    def answer(connection):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += receive(connection, 1)
        check(head.startswith(b"HTTP/1.1 200") and b"close" not in head.lower(), head)
        length = int(re.search(rb"content-length: (\d+)", head, re.I).group(1))
        return int(receive(connection, length))

    def body(client, port):
        with connect(port) as connection:
            seen, requests = [], 0
            while not client.finished.is_set():
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                pid = answer(connection)
                requests += 1
                if pid not in seen:
                    seen.append(pid)
                client.step()
            return seen, requests

    with Service(bin + "/http-async", "FOLDER/pid") as service:
        results = through_upgrades(service, [Client(body, service.port) for _ in range(4)], 5)
        last_requests(service.port, b" 200 ")
        for seen, _ in results:
            check(len(seen) == 6, "processes on one connection:", seen)
        return f"{sum(r for _, r in results)} requests on 4 connections, each served by 6 processes"


def last_requests(port, status):
    """What a client asks for as the last on a connection, ends it."""
    for request in (b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"):
        with connect(port) as connection:
            connection.sendall(request)
            answer = b""
            while more := connection.recv(4096):  # until it is closed
                answer += more
            head = answer.split(b"\r\n\r\n")[0]
            check(status in head.split(b"\r\n")[0] and b"connection: close" in head.lower(), request, "got", answer)


def websocket_chat(bin):
    def frame(opcode, data):
        mask = os.urandom(4)
        masked = bytes(b ^ mask[i % 4] for i, b in enumerate(data))
        return bytes([0x80 | opcode, 0x80 | len(data)]) + mask + masked

    def body(client, port, name, everybody_is_there):
        with connect(port) as connection:
            key = base64.b64encode(os.urandom(16)).decode()
            connection.sendall(
                f"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
            )
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += receive(connection, 1)
            check(head.startswith(b"HTTP/1.1 101"), head)
            everybody_is_there.wait(PATIENCE)
            heard, said = [], 0
            while "end" not in heard:
                # One sentence at a time: the next when the last one has come back.
                if not said or heard.count(f"{name} {said - 1}"):
                    word = "end" if client.finished.is_set() else f"{name} {said}"
                    connection.sendall(frame(1, word.encode()))
                    said += 1
                opcode, length = receive(connection, 2)
                check(opcode == 0x81 and length < 126, "opcode", opcode, "length", length)
                heard.append(receive(connection, length).decode())
                client.step()
            return heard[: heard.index("end")]

    with Service(bin + "/websocket-chat", "FOLDER/pid") as service:
        everybody = threading.Barrier(3)
        clients = [Client(body, service.port, name, everybody) for name in "abc"]
        results = through_upgrades(service, clients, 5)
        last_requests(service.port, b" 426 ")
        check(all(result == results[0] for result in results), "they heard different things")
        for name in "abc":
            words = [word for word in results[0] if word.startswith(name)]
            check(words == [f"{name} {number}" for number in range(len(words))], words)
        return f"3 clients heard the same {len(results[0])} sentences in the same order"


def owner_worker(bin):
    folder = tempfile.mkdtemp(prefix="tableflip-queue-")
    jobs, journal = folder + "/jobs", folder + "/journal"
    os.mkdir(jobs)

    def body(client):
        number = 0
        while not client.finished.is_set():
            while len(os.listdir(jobs)) > 100 and not client.finished.is_set():
                client.finished.wait(0.005)  # it has enough to do
            open(f"{jobs}/{number}", "w").close()
            number += 1
            client.step()
            client.finished.wait(0.005)  # a job each 5 ms
        return number

    try:
        with Service(bin + "/owner-worker", jobs, journal, "FOLDER/pid", address=False) as service:
            (count,) = through_upgrades(service, [Client(body)], 5)
            deadline = time.monotonic() + PATIENCE
            while os.listdir(jobs) and time.monotonic() < deadline:
                time.sleep(0.01)
        with open(journal) as lines:
            done = [line.split() for line in lines]
        check(sorted(int(job) for _, job in done) == list(range(count)), f"{count} jobs, done: {done}")
        workers = {pid for pid, _ in done}
        check(len(workers) > 1, "all were done by", workers)
        # One works after the other, never two at a time.
        order = [pid for i, (pid, _) in enumerate(done) if i == 0 or done[i - 1][0] != pid]
        check(len(order) == len(workers), "the order of the workers:", order)
        return f"{count} jobs, each done once, by {len(workers)} processes one after the other"
    finally:
        shutil.rmtree(folder)


# MARK: What cannot move


class HTTP2:
    """As much of the protocol (RFC 9113) as it takes to see each frame of the end."""

    DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8

    def __init__(self, connection):
        self.connection = connection
        self.farewells, self.said, self.ended = [], {}, set()
        self.connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self.send(self.SETTINGS, 0, 0, b"")
        self.send(self.WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**30))  # more than is ever received

    def send(self, kind, flags, stream, payload):
        header = struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream)
        self.connection.sendall(header + payload)

    def get(self, stream, path):
        # RFC 7541: :method GET, :scheme https, then two literals, :authority and :path.
        block = b"\x82\x87\x41\x01x\x44" + bytes([len(path)]) + path
        self.send(self.HEADERS, 0x5, stream, block)  # END_STREAM, END_HEADERS

    def next(self):
        header = receive(self.connection, 9)
        (length,) = struct.unpack(">I", b"\0" + header[:3])
        stream = struct.unpack(">I", header[5:])[0] & 0x7FFFFFFF
        return header[3], header[4], stream, receive(self.connection, length)

    def acknowledge(self, kind, flags, payload):
        if kind == self.SETTINGS and not flags & 1:
            self.send(self.SETTINGS, 1, 0, b"")
        elif kind == self.PING and not flags & 1:
            self.send(self.PING, 1, 0, payload)

    def note(self, kind, flags, stream, payload):
        """Acknowledges it, or keeps what it answers: that comes when it likes, whatever is being waited for."""
        self.acknowledge(kind, flags, payload)
        check(kind != self.RST_STREAM, "stream", stream, "was reset with", payload)
        if kind == self.DATA:
            self.said[stream] = self.said.get(stream, b"") + payload
        if kind in (self.HEADERS, self.DATA) and flags & 1:
            self.ended.add(stream)

    def wait(self, kind):
        """The next frame of this kind, which is not acknowledged; others are."""
        while True:
            got, flags, stream, payload = self.next()
            if got == kind:
                return stream, payload
            self.note(got, flags, stream, payload)

    def answers(self, streams):
        """Waits until each has been answered; returns what each said."""
        while not self.ended.issuperset(streams):
            kind, flags, stream, payload = self.next()
            self.note(kind, flags, stream, payload)
            if kind == self.GOAWAY:
                self.farewells.append(self.last_stream(payload))
        return {stream: self.said[stream] for stream in streams}

    def go_away(self):
        if not self.farewells:
            _, payload = self.wait(self.GOAWAY)
            self.farewells.append(self.last_stream(payload))
        return self.farewells.pop(0)

    @staticmethod
    def last_stream(payload):
        last, code = struct.unpack(">II", payload[:8])
        check(code == 0, "GOAWAY with the code", code)
        return last & 0x7FFFFFFF


def tls_http2(bin):
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = folder + "/certificate.pem", folder + "/key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
            + ["-subj", "/CN=localhost", "-addext", f"subjectAltName=IP:{LOOPBACK}", "-keyout", key, "-out", certificate],
            check=True, capture_output=True, timeout=PATIENCE,
        )
        words = (bin + "/tls-http2", "FOLDER/pid", certificate, key)
        with Service(*words) as service:
            tls_frames(service, certificate)
        results = [
            tls_streams(words, certificate),
            # A new connection each 10 ms, with eight requests at once. h2load has no others left when it hears that it
            # shall ask no more: those it would count as failed, having never asked them.
            tls_load(words, "h2load, HTTP/2", 2000, ["h2load", "-r", "100", "-c", "250", "-m", "8"], "/slow", "/"),
            tls_load(words, "h2load, HTTP/1.1", 5000, ["h2load", "--h1", "-c", "8"], "/"),
            tls_load(words, "ab", 5000, ["ab", "-k", "-q", "-l", "-c", "8"], "/"),
        ]
        return "the farewells are right; " + "; ".join(results)


def tls_frames(service, certificate):
    """The end of a connection, step by step."""

    def secure(protocol):
        context = ssl.create_default_context(cafile=certificate)
        context.set_alpn_protocols([protocol])
        connection = context.wrap_socket(connect(service.port), server_hostname=LOOPBACK)
        check(connection.selected_alpn_protocol() == protocol)
        return connection

    def http1(connection):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += receive(connection, 1)
        length = int(re.search(rb"content-length: (\d+)", head, re.I).group(1))
        return int(receive(connection, length)), b"connection: close" in head.lower()

    old = service.pid
    one, silent, two = secure("http/1.1"), secure("http/1.1"), HTTP2(secure("h2"))
    check(http1(one) == (old, False))
    two.get(1, b"/")
    own = f"{old}\n".encode()
    check(two.answers([1]) == {1: own})
    two.get(3, b"/slow")

    service.begin_upgrade()
    check(two.go_away() == 2**31 - 1, "the first GOAWAY names a stream")
    _, ping = two.wait(two.PING)
    # A client may open streams for as long as it cannot know better.
    two.get(5, b"/")
    two.send(two.PING, 1, 0, ping)
    check(two.answers([3, 5]) == {3: own, 5: own})
    # swift-nio-http2 takes both steps once more.
    check(two.go_away() == 2**31 - 1 and two.go_away() == 5, "the last GOAWAY names the last stream")
    two.connection.settimeout(PATIENCE)
    check(two.connection.recv(1) == b"", "bytes after the end")
    two.connection.close()

    # Neither has been closed, whether it had asked before or not; each next answer is the last.
    for connection in (one, silent):
        check(http1(connection) == (old, True))
        check(connection.recv(1) == b"", "bytes after the end")
        connection.close()
    service.end_upgrade()
    with secure("http/1.1") as connection:
        check(http1(connection) == (service.pid, False))


def tls_streams(words, certificate):
    with Service(*words) as service:
        clients = [Client(http2_load, service.port, certificate) for _ in range(4)]
        results = through_upgrades(service, clients, 10)
        for _, connections in results:
            check(connections >= 11, connections, "connections")
        return f"HTTP/2: {sum(answered for answered, _ in results)} requests, 0 failed, 10 upgrades"


def http2_load(client, port, certificate):
    """Four streams at a time. At the first GOAWAY it opens no more, as RFC 9113 asks, and when these have been answered it
    connects anew. Nothing is ever repeated."""
    context = ssl.create_default_context(cafile=certificate)
    context.set_alpn_protocols(["h2"])
    answered = connections = 0
    while not client.finished.is_set():
        connections += 1
        with context.wrap_socket(connect(port), server_hostname=LOOPBACK) as secure:
            two = HTTP2(secure)
            stream, asked, may_ask = 1, set(), True
            while True:
                while may_ask and len(asked) < 4:
                    two.get(stream, b"/")
                    asked.add(stream)
                    stream += 2
                kind, flags, number, payload = two.next()
                two.acknowledge(kind, flags, payload)
                if kind == two.GOAWAY:
                    last, code = struct.unpack(">II", payload[:8])
                    check(code == 0 and all(s <= last for s in asked), "GOAWAY", last, code, "asked:", asked)
                    may_ask = False
                elif kind in (two.HEADERS, two.DATA) and flags & 1:
                    asked.remove(number)
                    answered += 1
                    client.step()
                elif kind == two.RST_STREAM:
                    check(False, "stream", number, "was reset with", payload)
                if client.finished.is_set():
                    may_ask = False
                if not may_ask and not asked:
                    break
    return answered, connections


def tls_load(words, name, count, command, *paths):
    """Ten upgrades under the load of another's client, each after the one before has drained. The client makes so many
    requests, and does so again until all upgrades are over."""

    def body(client, port):
        requests = 0
        while not client.finished.is_set():
            run = [*command, "-n", str(count), *(f"https://{LOOPBACK}:{port}{path}" for path in paths)]
            result = subprocess.run(run, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE * 4)
            text = result.stdout + result.stderr
            done = re.search(r"Complete requests: *(\d+)", text) or re.search(r"(\d+) succeeded", text)
            bad = re.findall(r"(?:Failed requests|Write errors|Non-2xx responses): *(\d+)", text)
            bad += re.findall(r"(\d+) (?:failed|errored|timeout|[345]xx)", text)
            check(done and int(done.group(1)) == count and not any(int(n) for n in bad), text)
            requests += count
        return requests

    with Service(*words) as service:
        load = Client(body, service.port)
        for _ in range(10):
            check(not load.failure, load.failure)
            service.upgrade()
        load.finished.set()
        load.join(PATIENCE * 5)
        return f"{name}: {load.finish()} requests, 0 failed, 10 upgrades"


def main():
    bin, names = sys.argv[1], sys.argv[2:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for name in names:
        begin = time.monotonic()
        wrong = subprocess.run([f"{bin}/{name}", "nowhere"], capture_output=True, text=True, timeout=PATIENCE)
        check(wrong.returncode == 64 and not wrong.stdout and wrong.stderr.startswith(f"usage: {name} "), wrong)
        result = globals()[name.replace("-", "_")](bin)
        print(f"{name}: {result} ({time.monotonic() - begin:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
