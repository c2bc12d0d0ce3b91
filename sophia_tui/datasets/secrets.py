"""Finds secrets: keys of known makers by their published forms, tokens, private keys, passwords in
addresses. What has no form of its own (a password in a sentence, say) is not found here.
"""

import re
from collections.abc import Iterator

from sophia_tui.datasets.personal_kinds import Finding, Kind

#: The forms that makers publish for secret scanning.
_FORMS = (
    r"sk-(?:ant-|proj-|svcacct-|admin-|or-v1-)?[A-Za-z0-9_-]{20,250}",
    r"AKIA[A-Z2-7]{16}",
    r"ASIA[A-Z2-7]{16}",
    r"gh[pousr]_[A-Za-z0-9]{36,251}",
    r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}",
    r"gl(?:pat|ptt|dt|rt|cbt|oas|soat|ffct|agent)-[A-Za-z0-9_.=-]{20,100}",
    r"xox[abposr]-[A-Za-z0-9-]{10,250}",
    r"xapp-[0-9]-[A-Za-z0-9-]{20,250}",
    r"https://hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9+/]{20,80}",
    r"AIza[A-Za-z0-9_-]{35}",
    r"GOCSPX-[A-Za-z0-9_-]{28}",
    r"ya29\.[A-Za-z0-9_-]{20,500}",
    r"(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,250}",
    r"whsec_[A-Za-z0-9+/=]{24,100}",
    r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}",
    r"SK[0-9a-f]{32}",
    r"npm_[A-Za-z0-9]{36}",
    r"pypi-AgE[A-Za-z0-9_-]{50,300}",
    r"hf_[A-Za-z0-9]{30,60}",
    r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}",
    r"(?:APP_USR|TEST)-[0-9]{10,20}-[0-9]{6}-[0-9a-f]{32}(?:__[A-Z_]+__)?-[0-9]{5,12}",
    r"do[opr]_v1_[0-9a-f]{64}",
    r"dapi[0-9a-f]{32}(?:-[0-9])?",
    r"shp(?:at|ca|pa|ss)_[0-9A-Fa-f]{32}",
    r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
)
_KEY = re.compile(r"(?<![A-Za-z0-9])(?:" + "|".join(_FORMS) + r")")
_PEM = re.compile(
    r"-----BEGIN (?P<label>(?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?)-----"
    r"(?:.*?-----END (?P=label)-----|[A-Za-z0-9+/=\\\s:,-]*)",
    re.DOTALL,
)
_BEARER = re.compile(
    r"\bauthorization[\"']?[ \t]*[:=][ \t]*[\"']?(?:bearer|basic|token)[ \t]+"
    r"([A-Za-z0-9._~+/=-]{16,})|\bbearer[ \t]+([A-Za-z0-9._~+/=-]{20,})",
    re.IGNORECASE,
)
_PASSWORD = re.compile(
    r"\b[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/@:\"'<>]{0,100}:([^\s/@\"<>{}]{1,200})@[^\s@]"
)
#: Written where a person is to put the password in.
_NO_PASSWORD = re.compile(
    r"(?:\*+|x+|\.+|\$\{?[A-Z_]+\}?|\$\(.*|%s|%[A-Z_]+%|pass|passwd|password|pwd|senha|secret|your[-_]?password|sua[-_]?senha)\Z",
    re.IGNORECASE,
)

#: What a text that holds a key, a token or a private key has in it, as bytes.
MARKS = (
    rb"sk-|AKIA|ASIA|gh[pousr]_|github_pat_|gl(?:pat|ptt|dt|rt|cbt|oas|soat|ffct|agent)-|xox[abposr]-"
    rb"|xapp-|hooks\.slack|AIza|GOCSPX-|ya29\.|k_(?:live|test)_|whsec_|SG\.[A-Za-z0-9_-]{16}"
    rb"|SK[0-9a-f]{8}|npm_|pypi-|hf_|:AA[A-Za-z0-9_-]{8}|APP_USR-|TEST-[0-9]|do[opr]_v1_"
    rb"|dapi[0-9a-f]{8}|shp(?:at|ca|pa|ss)_|eyJ[A-Za-z0-9_-]{10}|PRIVATE KEY"
    rb"|(?i:bearer|authorization)"
)


def secrets(text: str) -> Iterator[Finding]:
    """Keys, tokens and private keys."""
    for match in _PEM.finditer(text):
        yield _finding(match)
    for match in _KEY.finditer(text):
        yield _finding(match)
    for match in _BEARER.finditer(text):
        yield _finding(match, match.lastindex or 0)


def passwords(text: str) -> Iterator[Finding]:
    """Those in addresses, the rest of which stays."""
    if "://" not in text:
        return
    for match in _PASSWORD.finditer(text):
        if not _NO_PASSWORD.match(match[1]):
            yield _finding(match, 1)


def _finding(match: re.Match[str], group: int = 0) -> Finding:
    return Finding(Kind.SECRET, match.start(group), match.end(group), match[group])
