# SPDX-License-Identifier: MIT
"""The program at a terminal: a pseudo-terminal with keys going in and what is shown coming out."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

from smelt_cli import SMELT

ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>M78]")
PROMPT = rb"\x1b\[\?2004h(> )"
MORE = rb"\x1b\[\?2004h(\.\.\. )"
PASTE = "\x1b[200~%s\x1b[201~"
UP, LEFT, BACKSPACE, CTRL_C, CTRL_D, ENTER = "\x1b[A", "\x1b[D", "\x7f", "\x03", "\x04", "\r"


class Terminal:
    def __init__(self, *args, env=None, rows=24, cols=80, program=SMELT):
        self.master, slave = pty.openpty()
        self.resize(rows, cols)
        self.before = termios.tcgetattr(slave)
        whole = {"PATH": os.environ["PATH"], "TERM": "xterm", "NO_COLOR": "1", "LC_ALL": "C.UTF-8", **(env or {})}
        self.p = subprocess.Popen([program, *map(str, args)], stdin=slave, stdout=slave, stderr=slave, env=whole,
                                  start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.slave = slave
        self.out = b""   # not yet looked at
        self.all = b""   # everything that came

    def resize(self, rows, cols):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def read(self, wait):
        if not select.select([self.master], [], [], wait)[0]:
            return False
        try:
            got = os.read(self.master, 65536)
        except OSError:  # the other side is closed
            return False
        self.out += got
        self.all += got
        return bool(got)

    def expect(self, pattern, timeout=60):
        """Waits for what is shown to match; returns what stood before it, without escape sequences, and the match."""
        if isinstance(pattern, str):
            pattern = re.escape(pattern.encode())
        end = time.monotonic() + timeout
        while True:
            m = re.search(pattern, self.out, re.S)
            if m:
                shown = self.out[:m.start()]
                self.out = self.out[m.end():]
                return ESCAPES.sub(b"", shown).decode(errors="replace").replace("\r\n", "\n"), m
            if time.monotonic() > end or (not self.read(0.2) and self.p.poll() is not None and not self.read(0.1)):
                raise AssertionError(f"wanted {pattern!r}, found {self.out[-2000:]!r}")

    def prompt(self):
        return self.expect(PROMPT)[0]

    def type(self, text):
        os.write(self.master, text.encode() if isinstance(text, str) else text)

    def line(self, text):
        """Types a line at the prompt; returns what is shown until the next prompt, the typed line left out."""
        self.type(text + ENTER)
        return self.prompt().split("\n", 1)[-1]

    def signal(self, sig):
        self.p.send_signal(sig)

    def finish(self, timeout=60):
        """Waits for the end; returns exit status and the rest of what was shown."""
        end = time.monotonic() + timeout
        while self.p.poll() is None and time.monotonic() < end:
            self.read(0.1)
        while self.read(0.05):
            pass
        assert self.p.poll() is not None, f"still running: {self.out[-500:]!r}"
        shown = ESCAPES.sub(b"", self.out).decode(errors="replace").replace("\r\n", "\n")
        return self.p.returncode, shown

    def restored(self):
        """Whether the terminal is as it was."""
        return termios.tcgetattr(self.slave) == self.before

    def close(self):
        if self.p.poll() is None:
            self.p.send_signal(signal.SIGKILL)
            self.p.wait()
        os.close(self.master)
        os.close(self.slave)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.close()
