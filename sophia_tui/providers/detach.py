"""Starts a command as nobody's child. A script of its own, run by `python -I -S detach.py`.

A fresh small process forks twice, so that no thread or descriptor of the caller comes along. The
grandchild has a session of its own and no terminal, and says who it is before it becomes the
command: `{"pid": …, "started": …}` on stdout, `started` being field 22 of /proc/PID/stat. It never
imports anything of ours: only the standard library is there.
"""

import argparse
import json
import os
import sys

NICE = 10
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}  # system call numbers; libc has no function for it
_IDLE_CLASS = 3 << 13


def _start_time() -> int:
    with open("/proc/self/stat", encoding="utf-8", errors="replace") as stat:
        return int(stat.read().rpartition(")")[2].split()[19])


def _stay_behind() -> None:
    """Give way to everything else: lowest disk class, nice 10. Where it can't be had, go on."""
    import ctypes
    import errno

    number = _IOPRIO_SET.get(os.uname().machine)
    if number is not None:
        ctypes.CDLL(None).syscall(number, 1, 0, _IDLE_CLASS)
    try:
        os.nice(NICE)
    except OSError as problem:
        if problem.errno not in (errno.EPERM, errno.EACCES):
            raise


def _become(options: argparse.Namespace, report: int) -> None:
    os.umask(0o077)
    os.chdir(options.folder)
    if options.background:
        _stay_behind()
    log = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    said = json.dumps({"pid": os.getpid(), "started": _start_time()})
    os.write(report, said.encode() + b"\n")
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.closerange(3, 65536)
    os.execv(options.command[0], options.command)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", required=True)
    parser.add_argument("--folder", default="/")
    parser.add_argument("--background", action="store_true")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    report = os.dup(1)
    child = os.fork()
    if child:
        _pid, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)
    os.setsid()
    if os.fork():
        os._exit(0)  # the grandchild is init's now, and leads no session: no terminal can come back
    try:
        _become(options, report)
    except OSError as problem:
        os.write(report, json.dumps({"problem": problem.strerror}).encode() + b"\n")
    os._exit(127)


if __name__ == "__main__":
    sys.exit(main())
