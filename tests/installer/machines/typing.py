"""A person at a terminal: `typing.py NEEDLE ANSWER ... -- COMMAND...` waits for each needle in what
the command shows and types the answer. Prints all that was shown; ends with the command's status.
"""

import os
import pty
import struct
import sys
from fcntl import ioctl
from termios import TIOCSWINSZ


def main() -> int:
    split = sys.argv.index("--")
    talk, command = sys.argv[1:split], sys.argv[split + 1 :]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(command[0], command)
    ioctl(terminal, TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    seen, read = b"", 0
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the other end was closed
            break
        if not part:
            break
        seen += part
        while talk and (found := seen.find(talk[0].encode(), read)) >= 0:
            read = found + len(talk[0])
            os.write(terminal, talk[1].encode().decode("unicode_escape").encode("latin-1"))
            del talk[:2]
    sys.stdout.buffer.write(seen)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
