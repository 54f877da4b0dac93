# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""The servers, each behind the same few words: start, upgrade, end.

All answer `GET /` with the id of the process and a line feed. Configurations are written into a folder of their own;
nothing is read from /etc.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import time

from .processes import PATIENCE, Failure, Group, PeerFailure, alive, children, end_group, free_port, wait_until


@dataclasses.dataclass
class Upgrade:
    began: float  # time.monotonic() at the trigger
    ready: float  # when the new process was seen to be in charge
    old: set  # processes that are to leave
    new: set  # processes that serve now

    @property
    def milliseconds(self):
        return (self.ready - self.began) * 1e3


@contextlib.contextmanager
def blaming(peer):
    """Whatever does not run here is this server's fault."""
    try:
        yield
    except (Failure, OSError, SystemExit, TypeError, statistics.StatisticsError,
            subprocess.SubprocessError) as error:
        if isinstance(error, Failure) and str(error).startswith(peer.name):
            raise  # it has been said
        words = f"{peer.name}: {type(error).__name__}: {error}\n{peer.group.last_words() if peer.group else ''}"
        raise (Failure if peer.is_ours else PeerFailure)(words) from error


class Peer:
    """A server that can be upgraded. `tools` says where the programs are."""

    name = ""
    key = ""
    is_ours = False
    # After so many seconds without a new process it is triggered once more, as an operator would.
    impatience = None

    def __init__(self, tools, folder):
        self.tools = tools
        self.folder = folder
        folder.mkdir(parents=True)
        self.output = folder / "output"
        self.group = None
        self.port = None
        self.old = set()
        try:
            with blaming(self):
                self.start()
        except BaseException:
            self.end()
            raise

    @property
    def patience(self):
        """Seconds for an upgrade under load, and for an answer after a death: what comes later is a result, a bad one.
        Where no times are judged, ours only has to come."""
        return PATIENCE if self.is_ours and self.tools.quick else 2.0

    def require(self, condition, words):
        """Of ours, at once: the row may never come to its end."""
        if self.is_ours and not condition:
            self.tools.complaints.append(f"{self.name}: {words}")

    # What each kind says.

    def start(self):
        raise NotImplementedError

    def serving(self):
        """The ids of all processes that serve, masters included."""
        raise NotImplementedError

    def await_turn(self, patience):
        """Until a trigger would not be refused because of the upgrade before."""

    def trigger(self):
        raise NotImplementedError

    def successors(self, before):
        """The new processes, once they are in charge; else nothing."""
        raise NotImplementedError

    def dismiss(self, before):
        """What an operator does once the new process is there."""

    # What all do alike.

    def run(self, *command, environment=None):
        with open(self.output, "ab") as output:
            self.group = Group(command, self.folder, stdout=output, environment=environment)

    def upgrade(self, patience=PATIENCE, dismisses=True):
        with blaming(self):
            return self.upgraded(patience, dismisses)

    def upgraded(self, patience, dismisses):
        self.await_turn(patience)
        before = self.serving()
        began = self.triggered = time.monotonic()
        self.trigger()
        new = wait_until("an upgrade", lambda: self.look(before), patience)
        ready = time.monotonic()
        if dismisses:
            self.dismiss(before)
        upgrade = Upgrade(began, ready, before - self.serving(), new)
        self.old = self.leftovers() | upgrade.old
        return upgrade

    def look(self, before):
        new = self.successors(before)
        if not new and self.impatience and time.monotonic() > self.triggered + self.impatience:
            self.triggered = time.monotonic()
            self.trigger()
        return new

    def leftovers(self):
        """Old processes that may still be there."""
        return {pid for pid in self.old if alive(pid)}

    def end(self):
        if self.group:
            self.group.end()


class PidFilePeer(Peer):
    """SIGHUP to the process that the PID file names, until it names another."""

    # We may see an end before the process that waits for it does, and that one refuses until then. While an upgrade runs,
    # another trigger is refused.
    impatience = 0.05

    def __init__(self, tools, folder):
        self.pid_file = folder / "pid"
        super().__init__(tools, folder)

    def named(self):
        with contextlib.suppress(OSError, ValueError):
            return int(self.pid_file.read_text())
        return None

    def serving(self):
        return {pid} if (pid := self.named()) else set()

    def trigger(self):
        os.kill(self.named(), signal.SIGHUP)

    def successors(self, before):
        now = self.serving()
        return now if now and not now & before else None

    def await_turn(self, patience):
        wait_until("the old process leaves", lambda: not self.leftovers(), patience)


class Ours(PidFilePeer):
    name, key = "swift-tableflip", "ours"
    is_ours = True
    flags = ()

    def start(self):
        self.run(self.tools.demo, "serve", "--listen", "127.0.0.1:0", "--json-events", "--pause-timeout", "10s",
                 "--pid-file", self.pid_file, *self.flags)
        # Owner: before, a SIGHUP is refused.
        wait_until("it starts", lambda: any(event["phase"] == "owner" for event in self.events()) and self.named())
        # The program says by itself where it serves, a moment sooner or later than the library says that it owns.
        wait_until("it names its port", lambda: any(event.get("port") for event in self.events()))
        self.port = next(event["port"] for event in self.events() if event.get("port"))

    def events(self):
        """What all generations have written so far."""
        if not self.output.exists():
            return []
        return [json.loads(line) for line in self.output.read_bytes().splitlines(keepends=True)
                if line.endswith(b"\n")]


class OursBare(Ours):
    name, key, flags = "the same server without the library's handlers", "bare", ("--bare",)


class OursOnProbation(Ours):
    """In charge is the one that serves, before the PID file names it."""

    name, key = "swift-tableflip, probation of 2 s", "probation"
    flags = ("--probation", "2s")

    def listening(self):
        return {event["pid"] for event in self.events() if event["phase"] == "listening"}

    def await_turn(self, patience):
        super().await_turn(patience)
        self.known = self.listening()

    def successors(self, before):
        return self.listening() - self.known or None


class Small(PidFilePeer):
    """One of Benchmarks/Latency: prints its address and takes a PID file."""

    program = ""

    def start(self):
        self.run(getattr(self.tools, self.program), "--pid-file", self.pid_file)
        wait_until("it starts", lambda: self.output.exists() and self.output.read_bytes().endswith(b"\n")
                   and self.named())
        self.port = int(self.output.read_text().split()[0].rsplit(":", 1)[1])


class Go(Small):
    name, key, program = "Go tableflip, net/http", "go", "go"


class OursSmall(Small):
    """Does no more than Go's does."""

    name, key, program = "swift-tableflip", "ours", "small"
    is_ours = True


class Nginx(Peer):
    workers = 2
    daemon = "off"
    environment = None

    def start(self):
        self.port = free_port()
        self.pid_file = self.folder / "nginx.pid"
        configuration = self.folder / "nginx.conf"
        temporary = "".join(f"{kind}_temp_path {self.folder}/{kind};\n" for kind in
                            ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        configuration.write_text(f"""
            daemon {self.daemon};
            worker_processes {self.workers};
            worker_rlimit_nofile {self.tools.descriptors};
            pid {self.pid_file};
            error_log {self.folder}/error.log;
            events {{ worker_connections 9900; }}
            http {{
                access_log off;
                keepalive_timeout 600s;
                keepalive_requests 1000000000;
                {temporary}
                server {{
                    listen 127.0.0.1:{self.port} backlog=4096;
                    location / {{ default_type text/plain; return 200 "$pid\\n"; }}
                }}
            }}
        """)
        # By its whole path: USR2 executes what it was called by.
        self.run(shutil.which("nginx"), "-e", self.folder / "error.log", "-c", configuration, environment=self.environment)
        wait_until("it starts", lambda: self.master() and len(children(self.master())) >= self.workers)
        self.started()

    def started(self):
        pass

    def master(self):
        with contextlib.suppress(OSError, ValueError):
            return int(self.pid_file.read_text())
        return None


class NginxReload(Nginx):
    """New workers of the same master and program."""

    name, key = "nginx, reload (HUP)", "nginx-hup"
    current = frozenset()

    def serving(self):
        # The leaving ones are the master's children too.
        now = children(self.master())
        return (now & self.current or now) | {self.master()}

    def trigger(self):
        self.known = children(self.master())
        os.kill(self.master(), signal.SIGHUP)

    def successors(self, before):
        new = children(self.master()) - self.known
        if len(new) < self.workers:
            return None
        self.current = frozenset(new)
        return new


class NginxUSR2(Nginx):
    """A new master with workers of its own; the old one is told to quit once it is there."""

    name, key = "nginx, new program (USR2, QUIT)", "nginx-usr2"
    # A master in the foreground takes USR2 for one that came too early: it still has its first parent.
    daemon = "on"

    def started(self):
        # It has become a session of its own.
        self.group.process.wait(PATIENCE)
        self.first_master = self.master()

    def serving(self):
        master = self.master()
        return {master} | children(master) - {self.old_master()}

    def old_master(self):
        with contextlib.suppress(OSError, ValueError):
            return int((self.folder / "nginx.pid.oldbin").read_text())
        return None

    def await_turn(self, patience):
        # Ignored by a master whose own predecessor is still there.
        wait_until("the old master leaves", lambda: self.old_master() is None, patience)

    def trigger(self):
        os.kill(self.master(), signal.SIGUSR2)

    def successors(self, before):
        master = self.master()
        if not master or master in before or len(children(master)) < self.workers:
            return None
        return {master} | children(master)

    def dismiss(self, before):
        os.kill(self.old_master(), signal.SIGQUIT)

    def end(self):
        if first_master := getattr(self, "first_master", None):
            end_group(first_master)
        super().end()


class MasterPeer(Peer):
    """A master that stays, and starts new workers beside the old ones when it is sent a signal."""

    signal = None
    current = frozenset()

    def await_worker(self):
        self.current = wait_until("it starts", lambda: children(self.group.pid))

    def serving(self):
        return {self.group.pid} | self.current

    def await_turn(self, patience):
        self.known = children(self.group.pid)

    def trigger(self):
        os.kill(self.group.pid, self.signal)

    def successors(self, before):
        new = children(self.group.pid) - self.known
        if new:
            self.current = new
        return new or None


class HAProxy(MasterPeer):
    name, key = "HAProxy, reload", "haproxy"
    signal = signal.SIGUSR2
    options = ""

    def start(self):
        self.port = free_port()
        configuration = self.folder / "haproxy.cfg"
        # HAProxy wants twice the descriptors that connections need, and some.
        configuration.write_text(f"""
global
    maxconn {(self.tools.descriptors - 500) // 2}
    nbthread 2
    stats socket {self.folder}/stats mode 600 level admin expose-fd listeners
defaults
    mode http
    timeout client 600s
    timeout http-keep-alive 600s
    timeout http-request 600s
    {self.options}
frontend all
    bind 127.0.0.1:{self.port} backlog 4096
    http-request return status 200 content-type text/plain lf-string "%pid\\n"
""")
        # The master executes itself in each reload, and loses a signal until it says that it is ready.
        self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.notices.bind(str(self.folder / "notify"))
        self.run("haproxy", "-Ws", "-db", "-f", configuration, environment={"NOTIFY_SOCKET": str(self.folder / "notify")})
        wait_until("it starts", self.is_ready)
        self.await_worker()

    def is_ready(self):
        with contextlib.suppress(BlockingIOError):
            return b"READY=1" in self.notices.recv(4096)
        return False

    def trigger(self):
        while self.is_ready():
            pass  # of an earlier reload
        super().trigger()

    def successors(self, before):
        return super().successors(before) if self.is_ready() else None

    def end(self):
        super().end()
        if hasattr(self, "notices"):
            self.notices.close()


class HAProxyIdleClose(HAProxy):
    name, key = "HAProxy, reload, idle-close-on-response", "haproxy-icr"
    options = "option idle-close-on-response"


class Starter(MasterPeer):
    """Server::Starter with a worker in Perl, which ends at once when it is told to."""

    name, key = "Server::Starter", "starter"
    signal = signal.SIGHUP

    def start(self):
        self.port = free_port()
        worker = self.folder / "worker.pl"
        worker.write_text(r"""
            use strict; use warnings; use IO::Socket::INET;
            my ($descriptor) = $ENV{SERVER_STARTER_PORT} =~ /=(\d+)/;
            my $listener = IO::Socket::INET->new_from_fd($descriptor, "r+") or die $!;
            $SIG{TERM} = sub { exit 0 };
            while (1) {
                my $connection = $listener->accept or next;
                sysread $connection, my $request, 4096;
                my $body = "$$\n";
                my $head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " . length($body);
                syswrite $connection, "$head\r\n\r\n$body";
                close $connection;
            }
        """)
        self.run("start_server", f"--port=127.0.0.1:{self.port}", "--", "perl", worker)
        self.await_worker()


class Gunicorn(Peer):
    """USR2 forks a new master that runs the program anew; QUIT ends the old one."""

    name, key = "gunicorn, USR2", "gunicorn"
    ballast = 0

    def start(self):
        self.port = free_port()
        self.pid_file = self.folder / "pid"
        (self.folder / "app.py").write_text(
            "import os\n"
            "def application(environ, start_response):\n"
            "    body = b'%d\\n' % os.getpid()\n"
            "    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])\n"
            "    return [body]\n")
        # Only in the first master: what the new one costs is what is measured.
        (self.folder / "conf.py").write_text(
            "import os\n"
            f"bind = '127.0.0.1:{self.port}'\nworkers = 1\npidfile = {str(self.pid_file)!r}\n"
            f"worker_tmp_dir = {str(self.folder)!r}\n"
            # A worker that has only just been forked loses the signal to end.
            "graceful_timeout = 2\n"
            f"ballast = b'1' * {self.ballast} if 'GUNICORN_PID' not in os.environ else b''\n")
        self.run("gunicorn", "-c", self.folder / "conf.py", "app:application")
        wait_until("it starts", lambda: self.named(self.pid_file) and children(self.named(self.pid_file)))

    @staticmethod
    def named(path):
        with contextlib.suppress(OSError, ValueError):
            return int(path.read_text())
        return None

    def serving(self):
        master = self.named(self.pid_file)
        return {master} | children(master) - {self.named(self.second)} if master else set()

    @property
    def second(self):
        return self.folder / "pid.2"

    def trigger(self):
        os.kill(self.named(self.pid_file), signal.SIGUSR2)

    def successors(self, before):
        master = self.named(self.second)
        return {master} | children(master) if master and children(master) else None

    def dismiss(self, before):
        new = self.named(self.second)
        os.kill(self.named(self.pid_file), signal.SIGQUIT)
        # The new one takes the file's name over, and takes no USR2 before.
        wait_until("the old master leaves", lambda: self.named(self.pid_file) == new)


@contextlib.contextmanager
def serving(tools, *kinds):
    """These servers, running, each in a folder of its own; by their keys."""
    peers = {}
    try:
        for kind in kinds:
            peers[kind.key] = kind(tools, tools.new_folder(kind.key))
        yield peers
    finally:
        for peer in peers.values():
            peer.end()
