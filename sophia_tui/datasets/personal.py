"""Finds personal data and secrets in a text, by form, check digits and the words around.

What only looks like it stays: numbers of orders and lots, dates, prices, versions, and whatever has
wrong check digits. What is found of which kind is told in personal_documents, personal_contacts and
secrets; names and birthdays of people are not found.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator

from sophia_tui.datasets import personal_contacts as contacts
from sophia_tui.datasets import personal_documents as documents
from sophia_tui.datasets import secrets
from sophia_tui.datasets.personal_gate import may_hold, worth
from sophia_tui.datasets.personal_kinds import PLACEHOLDER, Finding, Kind, folded

__all__ = ["FINDERS", "Finding", "Kind", "find", "may_hold"]

#: In the order in which a place that fits two kinds is given away.
FINDERS: dict[str, Callable[[str], Iterator[Finding]]] = {
    "secrets": secrets.secrets,
    "passwords": secrets.passwords,
    "emails": contacts.emails,
    "pixes": documents.pixes,
    "ibans": documents.ibans,
    "cnpjs": documents.cnpjs,
    "lettered_cnpjs": documents.lettered_cnpjs,
    "cpfs": documents.cpfs,
    "cards": documents.cards,
    "rgs": documents.rgs,
    "paulista_rgs": documents.paulista_rgs,
    "ips": contacts.ips,
    "addresses": contacts.addresses,
    "phones": contacts.phones,
}


def find(text: str) -> list[Finding]:
    """Every datum in the text, in order, none overlapping another or a placeholder."""
    text = folded(text)
    names = worth(text)
    taken: list[tuple[int, int, Finding | None]] = []
    if not names:
        return []
    if "[" in text:
        taken += [(*match.span(), None) for match in PLACEHOLDER.finditer(text)]
    for name, finder in FINDERS.items():
        if name not in names:
            continue
        for found in finder(text):
            at = bisect_left(taken, found.start, key=lambda each: each[0])
            free_before = at == 0 or taken[at - 1][1] <= found.start
            if free_before and (at == len(taken) or found.end <= taken[at][0]):
                taken.insert(at, (found.start, found.end, found))
    return [found for _start, _end, found in taken if found is not None]
