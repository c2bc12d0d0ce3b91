"""Makes hostile text harmless for a terminal: control, escape and bidirectional marks are shown."""

import re

# C0 and C1 controls, DEL, bidirectional overrides and isolates, zero-width marks, line separators,
# tag characters, lone surrogates: all of them change what a terminal does or what a person reads.
HOSTILE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def _mark(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)  # the Unicode pictures of the controls, e.g. ␛
    if code == 0x7F:
        return "\u2421"
    return f"<U+{code:04X}>"


def visible(text: str) -> str:
    """`text` on one line; what a terminal could act on becomes a visible mark."""
    return HOSTILE.sub(_mark, text)


def visible_lines(text: str) -> str:
    """As `visible`, but line feeds stay line feeds and tabs become four spaces."""
    return "\n".join(visible(line) for line in text.replace("\t", "    ").split("\n"))
