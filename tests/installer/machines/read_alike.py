"""Inside a machine, as root: bash's `source`, systemd's EnvironmentFile= and Sophia's parser read
what Sophia writes alike. Prints how many values were compared; ends with 1 at the first difference.
"""

import json
import random
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])

from sophia_tui import envfile

NASTY = [
    *("", " ", " both ", "plain", "it's", "''", '"', '"quoted"', 'it\'s "both"', "$HOME"),
    *("it's $HOME", "${HOME:-x}", "`id`", "it's `id` $(id)", "\\", "\\\\", "it's \\", "a\\nb"),
    *(
        "it's a\\nb",
        "# no comment",
        "a # b",
        "a#b",
        "a=b=c",
        "é ção 日本 🙂",
        "!history!",
        "*",
        "~",
    ),
    *("postgres://u:p%40ss'w$rd@h/db?sslmode=require", "it's !history!", "~root", "{a,b}", "%s %d"),
    *("a;b|c&d>e<f(g)", "-n", "%n%i%%", ";", "; no comment", "a\\", "\\'", '\\"', "x" * 10_000),
    *("p w'd\"$\\#%`ü", " \\ ", "'\\''", "$$", "\\$HOME", "a\u00a0b", "\u202eoverride", "ends "),
]
SIGNS = "'\"\\$` #=!a;%é~"
DUMP = "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if k[:2] == 'K_'}))"


def main() -> None:
    chance = random.Random(7)
    some = ["".join(chance.choices(SIGNS, k=chance.randint(1, 12))) for _each in range(500)]
    wanted = {f"K_{number}": value for number, value in enumerate([*NASTY, *some])}
    path = Path("/root/nasty.env")
    path.write_text(envfile.change("# nasty\n", dict(wanted)), encoding="utf-8")
    read = {
        "parser": envfile.check(path.read_bytes(), str(path)),
        "systemd": told(
            *("systemd-run", "--quiet", "--wait", "--pipe", f"--property=EnvironmentFile={path}"),
            *("/usr/bin/python3", "-I", "-X", "utf8", "-c", DUMP),
        ),
        "bash": told(
            *("bash", "--norc", "-c", f'set -a; . "{path}"; exec /usr/bin/python3 -X utf8 -c "$1"'),
            *("bash", DUMP),
        ),
    }
    for reader, found in read.items():
        for key, value in wanted.items():
            if found.get(key) != value:
                sys.exit(f"{reader} reads {key} as {found.get(key)!r}, not as {value!r}")
    print(len(wanted))


def told(*command: str) -> dict[str, str]:
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stderr == b"", done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


main()
