"""Who acts: the person behind sudo, where that may be believed."""

import os
import pwd
from types import SimpleNamespace

import pytest

from sophia_tui.paths import SERVER_ACCOUNT, system_user


def account(monkeypatch: pytest.MonkeyPatch, name: str, uid: int = 990) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: SimpleNamespace(pw_name=name))


def test_root_and_the_servers_account_say_who_is_behind_sudo(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    account(monkeypatch, SERVER_ACCOUNT)
    assert system_user({"SUDO_USER": "maria"}) == "maria"
    assert system_user({}) == SERVER_ACCOUNT
    account(monkeypatch, "root", uid=0)
    assert system_user({"SUDO_USER": "maria"}) == "maria"
    assert system_user({"SUDO_USER": ""}) == "root"


def test_nobody_else_can_borrow_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    account(monkeypatch, "eve", uid=1000)
    assert system_user({"SUDO_USER": "maria"}) == "eve"
