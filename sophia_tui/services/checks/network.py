"""The server around Sophia: its services, the firewall, and what listens to the world."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sophia_tui.domain.setup import UNITS, Firewall, Listener, Machine, Unit
from sophia_tui.i18n import N_, _, ngettext, number
from sophia_tui.services.checks.running import Check, Found, aside

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

READ_RULES = "sudo ufw status verbose"
_POSTGRES_PORT = 5432


class NetworkChecks:
    def __init__(self, machine: Machine, settings: "Settings") -> None:
        self._machine = machine
        self._settings = settings

    def all(self) -> list[Check]:
        return [
            Check("services", N_("Services"), self._services, 12.0),
            Check("firewall", N_("Firewall (UFW)"), self._firewall),
            Check("ports", N_("Ports open to the world"), self._ports),
        ]

    async def _services(self) -> Found:
        found = await self._machine.units(UNITS)
        if found is None:
            told = _("systemd does not run here; the worker is started when it is needed")
            return Found("problem" if self._machine.installed else "ok", told)
        there = [each for each in found if each.loaded]
        if not there and not self._machine.installed:
            return Found("ok", _("not set up as services; the worker is started when needed"))
        lines = tuple(_unit_line(each) for each in found)
        lines += (_("`journalctl -u UNIT` shows what a unit wrote."),)
        down = [each.name for each in found if not each.loaded or each.active != "active"]
        if not down:
            return Found("ok", _("all run"), lines)
        remedy = _("Set the units up again and start them.")
        return Found("problem", ", ".join(down), lines, remedy, "units")

    async def _firewall(self) -> Found:
        found = await aside(self._machine.firewall)
        step = "firewall" if self._machine.installed else ""
        if not found.installed:
            remedy = _("Without it every port that a program opens is open to the world.")
            return Found("attention", _("UFW is not installed"), remedy=remedy, step=step)
        lines = _rule_lines(found)
        if found.enabled is None:
            told = _("can't be read without root")
            remedy = _("See it by `{command}`.").format(command=READ_RULES)
            return Found("unknown", told, lines, remedy)
        if not found.enabled:
            remedy = _("Enable it; the way in by SSH is allowed and proved first.")
            return Found("attention", _("not enabled"), lines, remedy, step)
        if found.incoming not in ("", "deny", "reject", "drop"):
            told = _("enabled, but lets in what no rule names")
            remedy = _("`sudo ufw default deny incoming` closes it; allow SSH first.")
            return Found("attention", told, lines, remedy, step)
        told = _("enabled")
        if found.rules is None:
            told = _("enabled; its rules can't be read without root")
        return Found("ok", told, lines)

    async def _ports(self) -> Found:
        listeners = await aside(self._machine.listeners)
        ssh = await aside(self._machine.ssh_ports)
        firewall = await aside(self._machine.firewall)
        known = {**self._known(), **dict.fromkeys(ssh, "sshd")}
        if not listeners:
            return Found("ok", _("none"))
        lines = [_listener_line(each, known) for each in listeners]
        ours = sorted(
            {f"{known[each.port]} ({each.port})" for each in listeners if self._is_ours(each, ssh)}
        )
        count = len({each.port for each in listeners})
        told = ngettext("{count} port", "{count} ports", count).format(count=number(count))
        if firewall.enabled:
            lines.append(_("The firewall decides who gets as far as these."))
        if not ours:
            return Found("ok", told, tuple(lines))
        told = _("open to every address: {names}").format(names=", ".join(ours))
        remedy = _("Let it listen on 127.0.0.1 alone, or keep it behind the firewall.")
        severe = self._machine.installed and not firewall.enabled
        step = "firewall" if self._machine.installed else ""
        return Found("problem" if severe else "attention", told, tuple(lines), remedy, step)

    def _is_ours(self, listener: Listener, ssh: frozenset[int]) -> bool:
        """What should not be open to the world: the API and a Postgres."""
        return listener.port in self._known() and listener.port not in ssh

    def _known(self) -> dict[int, str]:
        settings, found = self._settings, {_POSTGRES_PORT: "Postgres"}
        for secret in (settings.database_url, settings.store_url):
            port = _port_here(secret.get_secret_value()) if secret else None
            if port:
                found[port] = "Postgres"
        place = settings.api_place
        if place:
            found[place[1]] = _("the API")
        return found


def _port_here(url: str) -> int | None:
    """The port of a Postgres address on this machine."""
    try:
        parts = urlsplit(url)
        here = parts.hostname in ("localhost", "127.0.0.1", "::1")
        return (parts.port or _POSTGRES_PORT) if here and parts.scheme else None
    except ValueError:
        return None


def _unit_line(unit: Unit) -> str:
    if not unit.loaded:
        return _("{unit}: not set up").format(unit=unit.name)
    told = f"{unit.name}: {unit.active} ({unit.sub})"
    if unit.enabled and unit.enabled != "enabled":
        told += f", {unit.enabled}"
    if unit.restarts:
        told += ", " + ngettext(
            "restarted {count} time", "restarted {count} times", unit.restarts
        ).format(count=number(unit.restarts))
    return told


def _rule_lines(found: Firewall) -> tuple[str, ...]:
    lines = []
    if found.incoming:
        lines.append(_("What no rule names: {policy}").format(policy=found.incoming))
    if found.rules is None:
        told = _("The rules can't be read without root: {command}")
        lines.append(told.format(command=READ_RULES))
    else:
        lines += found.rules or (_("no rule"),)
    return tuple(lines)


def _listener_line(listener: Listener, known: dict[int, str]) -> str:
    name = known.get(listener.port, _("not known to Sophia"))
    return _("{address} port {port}: {name}, account {user}").format(
        address=listener.address, port=listener.port, name=name, user=listener.user
    )
