# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""Clients of the demo, for the tests that run it as a service. Inside a network of its own: the port is fixed."""

import contextlib
import http.client
import threading
import time

PATIENCE = 20  # seconds, for whatever must come; a busy machine takes its time
HOST, PORT = "127.0.0.1", 8080


def check(condition, *words):
    if not condition:
        raise AssertionError(" ".join(str(word) for word in words))


def until(what, condition):
    """Looks again and again: what is waited for here tells nobody when it comes."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = condition()
        if found:
            return found
        check(time.monotonic() < deadline, "not in", PATIENCE, "s:", what)
        time.sleep(0.02)


class Load:
    """Clients that never stop asking: half of them on connections that stay, half on new ones."""

    def __init__(self, count=4):
        self.failures, self.answers, self.over = [], 0, False
        self.count, self.excused, self.servers = count, [], set()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._ask, args=(i % 2 == 0,), daemon=True) for i in range(count)]
        for thread in self.threads:
            thread.start()

    def _ask(self, stays):
        connection = None
        while not self.over:
            try:
                connection = connection or http.client.HTTPConnection(HOST, PORT, timeout=PATIENCE)
                connection.request("GET", "/")
                answer = connection.getresponse()
                body = answer.read()
                check(answer.status == 200 and body.strip().isdigit(), answer.status, body)
                with self.lock:
                    self.answers += 1
                    self.servers.add(int(body))
                if not stays or answer.will_close:
                    connection.close()
                    connection = None
                time.sleep(0.001)  # the rate, for whoever else needs the machine
            except Exception as error:  # whatever it is, a request was lost
                with self.lock:
                    self.failures.append(error)
                connection = None
                time.sleep(0.01)

    def stop(self, deaths=0):
        """Ends it. Nothing may be lost but what a process that was killed was answering: at most one request of each
        client, whose connection breaks. Nothing is refused, and nothing takes too long."""
        self.over = True
        for thread in self.threads:
            thread.join(PATIENCE)
        if deaths:
            broken = (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected, http.client.IncompleteRead)
            self.excused = [error for error in self.failures if isinstance(error, broken)][:self.count * deaths]
        lost = [error for error in self.failures if error not in self.excused]
        check(self.answers > 0 and not lost, "lost:", len(lost), [repr(error) for error in lost[:3]])
        return self.answers


def get(path, timeout=PATIENCE):
    connection = http.client.HTTPConnection(HOST, PORT, timeout=timeout)
    connection.request("GET", path)
    body = connection.getresponse().read().decode().strip()
    connection.close()
    return body


class Request:
    """One request that takes its time, on a thread of its own."""

    def __init__(self, path):
        self.result = None
        self.connection = http.client.HTTPConnection(HOST, PORT, timeout=PATIENCE)
        self.connection.request("GET", path)
        # Accepted and read: this one came later, and has been answered. Then the server may still be about to look.
        get("/")
        until("the request to be read", self._is_read)
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _is_read(self):
        """Nothing of it waits in the server's socket (proc_net_tcp: the receive queue)."""
        port = self.connection.sock.getsockname()[1]
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):  # a socket for both protocols is in the second one
            with contextlib.suppress(FileNotFoundError), open(table) as lines:
                for line in list(lines)[1:]:
                    words = line.split()
                    if int(words[1].split(":")[1], 16) == PORT and int(words[2].split(":")[1], 16) == port:
                        return words[4].split(":")[1] == "00000000"
        return False

    def _read(self):
        try:
            self.result = self.connection.getresponse().read().decode().strip()
            self.connection.close()
        except Exception as error:
            self.result = repr(error)

    def wait(self):
        self.thread.join(PATIENCE)
        return self.result
