# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""What is measured with: packages of Debian, and what is built."""

import importlib.util
import itertools
import os
import pathlib
import shutil
import subprocess
import sys

from .processes import Failure

BENCHMARKS = pathlib.Path(__file__).resolve().parent.parent
GOPATH = os.environ.get("TABLEFLIP_GOPATH", "/usr/share/gocode")

# A program or file, and the package that has it.
PACKAGES = {
    "cc": "gcc", "go": "golang-go",
    f"{GOPATH}/src/github.com/cloudflare/tableflip": "golang-github-cloudflare-tableflip-dev",
    "nginx": "nginx", "haproxy": "haproxy", "gunicorn": "gunicorn", "start_server": "libserver-starter-perl",
    "wrk": "wrk", "/usr/lib/python3/dist-packages/matplotlib": "python3-matplotlib",
}


def missing_packages():
    return [package for what, package in PACKAGES.items() if not os.path.exists(what) and not shutil.which(what)]


def install(may):
    """Installs what is missing if it `may`, else says how to."""
    missing = missing_packages()
    if missing and may and os.geteuid() == 0:
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]):
            output(command, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})
        missing = missing_packages()
    if missing:
        raise Failure("missing; as root: apt-get install --no-install-recommends " + " ".join(missing))


def output(command, **options):
    """What a command prints; a failure has its last lines."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          **options)
    if done.returncode != 0:
        raise Failure(f"{' '.join(map(str, command))}: {(done.stderr + done.stdout)[-2000:]}")
    return done.stdout


class Tools:
    """The programs, and a place for the files of servers."""

    def __init__(self, folder, descriptors, quick):
        self.folder = pathlib.Path(folder)
        self.descriptors = descriptors
        self.quick = quick
        self.memory = {}
        # What ours did badly at any time, also in a row that is measured again.
        self.complaints = []
        self.numbers = itertools.count(1)
        self.products = BENCHMARKS / ".build" / "suite"

    def new_folder(self, name):
        return self.folder / f"{next(self.numbers)}-{name}"

    def once(self, key, measure):
        """Rows share what they measure alike."""
        if key not in self.memory:
            self.memory[key] = measure()
        return self.memory[key]

    def build(self):
        self.products.mkdir(parents=True, exist_ok=True)
        self.demo = self._swift(BENCHMARKS.parent, "tableflip-demo")
        self.go = self.products / "go-server"
        output(["go", "build", "-o", self.go, BENCHMARKS / "Latency/main.go"],
               env=os.environ | {"GO111MODULE": "off", "GOPATH": GOPATH, "GOFLAGS": ""})
        # As small as Go's. Where times do not count, the demo's server will do: it is built anyway.
        self.small = None if self.quick else self._swift(BENCHMARKS / "Latency", "latency-server", "--static-swift-stdlib")
        self.preload = self.products / "ballast.so"
        output(["cc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", self.preload,
                BENCHMARKS / "suite/ballast.c"])
        self.handover = load_script(BENCHMARKS / "handover-cost.py")
        folder = BENCHMARKS / ".build/handover-cost"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self.handover_programs = self.handover.build(folder)
        except self.handover.Failure as failure:
            raise Failure(str(failure)) from None

    @staticmethod
    def _swift(package, product, *flags):
        build = ["swift", "build", "--package-path", package, "-c", "release", *flags]
        output([*build, "--product", product])
        return pathlib.Path(output([*build, "--show-bin-path"]).strip()) / product

    def script(self, name, *words):
        """What one of the scripts beside us prints."""
        return output([sys.executable, BENCHMARKS / name, *words])


def load_script(path):
    # What it imports stands beside it.
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    specification = importlib.util.spec_from_file_location(path.stem.replace("-", "_"), path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
