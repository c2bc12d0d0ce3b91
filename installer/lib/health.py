"""Whether the API answers as it must: `health.py ENV_FILE SECONDS`; exit 0 when it does.

Asks /health, a route without the token (which must be refused) and the same with it. The token is
read from the env file here, so that it is no argument of any program.
"""

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from sophia_tui import envfile

ADDRESS = "http://127.0.0.1:8000"
GUARDED = "/api/v1/jobs/list?limit=1"


def ask(path: str, token: str | None = None) -> tuple[int, bytes]:
    """Status and body; 0 where nobody answers."""
    headers = {} if token is None else {"x-admin-token": token}
    request = urllib.request.Request(ADDRESS + path, headers=headers)
    straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with straight.open(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()
    except OSError as problem:
        return 0, str(getattr(problem, "reason", problem)).encode()


def problem(token: str) -> str | None:
    """What is not as it must be; None where all is well."""
    status, body = ask("/health")
    if status != 200 or json.loads(body).get("status") != "ok":
        return f"GET /health: {status} {body[:200].decode(errors='replace')}"
    status, _body = ask(GUARDED)
    if status != 401:
        return f"GET {GUARDED} without a token: {status}, not 401"
    status, body = ask(GUARDED, token)
    if status != 200:
        return f"GET {GUARDED} with the token: {status} {body[:200].decode(errors='replace')}"
    return None


def main() -> int:
    token = envfile.values(Path(sys.argv[1]).read_text("utf-8")).get("FINETUNE_TOKEN", "")
    until = time.monotonic() + float(sys.argv[2])
    while (found := problem(token)) is not None and time.monotonic() < until:
        time.sleep(0.5)
    if found is not None:
        print(found)
    return 0 if found is None else 1


if __name__ == "__main__":
    sys.exit(main())
