# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""What deploy/container/Containerfile makes of its last stage, but for the files of its base."""

import json
import os
import pwd
import re
import signal

from demo_client import PORT, check

PATH = os.path.join(os.path.dirname(__file__), "..", "deploy", "container", "Containerfile")


class Image:
    def __init__(self, path=PATH):
        with open(path) as file:
            lines = re.sub(r"\\\n", " ", file.read()).splitlines()
        steps = [line.split(None, 1) for line in lines if line.strip() and not line.startswith("#")]
        begin = max(number for number, (word, _) in enumerate(steps) if word == "FROM")
        last = {word: rest for word, rest in steps[begin:]}
        # What is neither a base nor files, as written.
        self.settings = [f"{word} {rest}" for word, rest in steps[begin:] if word not in ("FROM", "COPY")]
        self.start = json.loads(last["ENTRYPOINT"]) + json.loads(last["CMD"])
        self.stop_signal = getattr(signal, last["STOPSIGNAL"])
        self.user = pwd.getpwnam(last["USER"])
        *sources, self.folder = re.sub(r"--from=\S+", "", last["COPY"]).split()
        self.programs = {os.path.basename(source) for source in sources}
        products = {name for word, rest in steps[:begin] if word == "RUN" for name in re.findall(r"--product (\S+)", rest)}
        check(self.programs == products, "what is built,", products, ", is not what is copied,", self.programs)
        check(last["EXPOSE"].strip() == str(PORT), "the tests ask on port", PORT, "and not", last["EXPOSE"])
