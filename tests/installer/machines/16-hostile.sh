# long
# shellcheck shell=bash
# A machine that is not as one would like it: locks, network, disk, systems, accounts, locales.

nothing_of_ours() {
  as_shell '[ ! -e /etc/sophia ] && [ ! -e /opt/sophia ] && [ ! -e /var/lib/sophia ] && ! getent passwd sophia'
}

# Another program holds both locks for a while; later for longer than is waited for.
scenario_apt_locks_held() {
  machine_up --from downloads
  # in Perl, which is there before Python; l_type, l_whence, l_start, l_len, l_pid of struct flock
  "$FM" exec "$MACHINE" -- tee /root/hold.pl >/dev/null <<'PERL'
use Fcntl;
my @held;
for my $path ("/var/lib/apt/lists/lock", "/var/lib/dpkg/lock-frontend") {
    open(my $file, "+>>", $path) or die "$path: $!";
    my $whole = pack("s s x4 q q i x4", F_WRLCK, 0, 0, 0, 0);
    fcntl($file, F_SETLK, $whole) or die "$path: $!";
    push(@held, $file);
}
sleep($ARGV[0]);
PERL
  as_shell 'systemd-run --quiet --unit=hold perl /root/hold.pl 3600'
  expect 'the locks are not held' until_true 10 as_shell \
    'grep -q ":$(stat -c %i /var/lib/dpkg/lock-frontend) " /proc/locks'
  INSTALL_ENV+=(SOPHIA_APT_WAIT=5)
  install
  expect_status 5
  expect_text 'Another program still uses apt: perl' 'was waited for long enough' 'SOPHIA-S311'
  as_shell 'systemctl stop hold; systemd-run --quiet --unit=hold2 perl /root/hold.pl 30'
  INSTALL_ENV+=(SOPHIA_APT_WAIT=120)
  install
  expect_status 0
  expect_text 'another program uses apt just now'
  expect 'not healthy' healthy
  fact 'held for ever: 5 with its holder named; held for 30 s: waited for, healthy'
}

scenario_no_network() {
  machine_up --from bookworm --no-net
  INSTALL_ENV=()
  install
  expect_status 5
  expect_text 'SOPHIA-S328' 'the name deb.debian.org is not found' 'pypi.org is not found' 'nothing was changed'
  expect 'something was changed' nothing_of_ours
  fact 'no network: 5, both hosts named, nothing changed'
}

# Everything is there already: the network is not needed.
scenario_no_network_offline_wheels() {
  machine_up --from packages --no-net
  install
  expect_status 0
  expect 'not healthy' healthy
  fact 'packages installed, wheels in a folder: healthy without any network'
}

scenario_disk_full() {
  machine_up --from bookworm --disk 400M
  INSTALL_ENV=()
  install
  expect_status 1
  expect_text 'too little space on the disk'
  expect 'something was changed' nothing_of_ours
  fact 'a disk that is too small: refused at once, nothing changed'
}

# The disk fills up while apt unpacks; then there is room again.
scenario_disk_full_at_apt() {
  machine_up --from downloads --disk 3500M
  install_behind
  expect 'apt never unpacked' until_true 120 as_shell 'grep -q Unpacking /var/log/sophia/install.log'
  # root may fill what is reserved for it, too
  as_shell 'fallocate -l "$(df --output=avail -B1 / | tail -1)" /root/hog || true; cat /dev/zero >/root/rest 2>/dev/null || true'
  install_ended
  echo "status with a full disk: $STATUS"
  expect 'it went through on a full disk' test "$STATUS" = 5
  expect_text 'SOPHIA-S311'
  as_shell 'rm -f /root/hog /root/rest'
  install
  expect_status 0
  expect 'not healthy' healthy
  fact 'full while dpkg unpacked: 5; with room again dpkg was repaired, healthy'
}

# The disk is full when the env file is to be written: none, or the old one whole.
scenario_disk_full_before_env() {
  machine_up --from packages
  # a file system of its own for the env file's folder, filled to the last block
  as_shell 'mkdir -p /etc/sophia && mount -t tmpfs -o size=4k,mode=0750 tmpfs /etc/sophia &&
    ! cat /dev/zero >/etc/sophia/full 2>/dev/null'
  install
  expect_status 1
  expect_text 'SOPHIA-S324' 'sophia.env could not be written' '0 MB'
  expect 'a leftover or a half env file' as_shell '[ "$(ls -A /etc/sophia)" = full ]'
  as_shell 'umount /etc/sophia'
  install
  expect_status 0
  expect 'not healthy' healthy
  # and with an old one there
  local before
  before=$(env_digest)
  as_shell 'cp -a /etc/sophia /root/kept && mount -t tmpfs -o size=64k,mode=0750 tmpfs /etc/sophia &&
    cp -a /root/kept/. /etc/sophia/ && ! cat /dev/zero >/etc/sophia/full 2>/dev/null'
  INSTALL_ENV+=(GEN_MODEL=another)
  install --step env
  expect_status 1
  expect_text 'SOPHIA-S324'
  expect 'a leftover' as_shell '[ -z "$(ls -A /etc/sophia | grep tmp)" ]'
  expect 'the old env file is not whole' test "$before" = "$(env_digest)"
  fact 'full before the env file: 1, no half file, the old one whole; then healthy'
}

scenario_hostile_auto_env() {
  machine_up --from packages
  local bad number=0
  while IFS= read -r bad; do
    number=$((number + 1))
    as_shell "printf '%b' 'OPENAI_API_KEY=sk-canary\n$bad\n' >/root/given"
    install --auto-env /root/given
    expect "accepted: $bad" test "$STATUS" = 2
    expect_text 'SOPHIA-S326' 'line'
    expect_no_text canary
  done <<'LINES'
PATH=/canary
LD_PRELOAD=/canary.so
BASH_ENV=/canary
1X=canary
X-Y=canary
X=canary\nX=canary
X="canary
X=canary\0000zero
X="canary\nmore"
LINES
  expect 'something was changed' nothing_of_ours
  {
    printf '\xef\xbb\xbfexport GEN_MODEL=m1\r\n'
    # shellcheck disable=SC2016 # what must not be run
    printf '%s\r\n' "EXPANSION_MODEL='\$(touch /root/ran)'" 'DB_PASS="a b\"c\$d\\e#f%g\`hü"'
  } | "$FM" exec "$MACHINE" -- tee /root/given | cat -A
  install --auto-env /root/given
  expect_status 0
  expect 'run' as_shell '[ ! -e /root/ran ]'
  # shellcheck disable=SC2016
  printf '%s' 'a b"c$d\e#f%g`hü' | "$FM" exec "$MACHINE" -- tee /root/password >/dev/null
  expect 'not the given password' as_shell \
    'cd /opt/src && python3 -I installer/lib/envfile.py get /etc/sophia/sophia.env DB_PASS | cmp - /root/password'
  expect 'not the given model' as_shell 'grep -qx GEN_MODEL=m1 /etc/sophia/sophia.env'
  expect 'not healthy' healthy
  expect 'the password stands in a log' as_shell '! grep -rqF "c\$d" /var/log/sophia /var/log/postgresql && ! journalctl --no-pager | grep -qF "c\$d"'
  fact "$number hostile files refused by line, values never shown; BOM, CRLF, export read"
}

scenario_not_root_and_other_systems() {
  machine_up --from bookworm
  INSTALL_ENV=()
  as_shell 'useradd -m person'
  STATUS=0
  OUTPUT=$(on --user person --workdir / -- /opt/src/install_sophia_llm.sh --auto --lang en 2>&1) || STATUS=$?
  expect_status 3
  expect_text 'only root' 'sudo'
  as_shell 'cp /etc/os-release /root/os; printf "ID=fedora\nVERSION_ID=42\nPRETTY_NAME=\"Fedora Linux 42\"\n" >/etc/os-release'
  install
  expect_status 1
  expect_text 'Fedora Linux 42' 'nothing was changed'
  as_shell 'printf "ID=debian\nVERSION_ID=11\nPRETTY_NAME=\"Debian 11\"\n" >/etc/os-release'
  install
  expect_status 1
  expect_text 'Debian 11'
  expect 'something was changed' nothing_of_ours
  fact 'not root: 3; Fedora and Debian 11: 1; nothing changed'
}

# umask 077 and a locale that was never generated, at once; IPv4 is gone later.
scenario_umask_and_locale() {
  machine_up --from downloads
  STATUS=0
  OUTPUT=$(on --env "${INSTALL_ENV[0]}" --env "${INSTALL_ENV[1]}" --env LANG=pt_BR.UTF-8 --env LC_ALL=pt_BR.UTF-8 -- \
    bash -c 'umask 077; /opt/src/install_sophia_llm.sh --auto --auto-assume-yes 2>&1') || STATUS=$?
  echo "$OUTPUT"
  expect_status 0
  expect_text 'A Sophia está pronta'
  expect 'not healthy' healthy
  expect 'no UTF8 database' as_shell \
    'runuser -u postgres -- psql -Atc "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = '"'sophia'"'" | grep -qx UTF8'
  expect 'the program can not be read by the account' as_shell 'runuser -u sophia -- test -r /opt/sophia/current/src/sophia_tui/__init__.py'
  fact 'umask 077 and LC_ALL=pt_BR.UTF-8 not generated: healthy, in Portuguese, UTF8'
}

scenario_ipv6_only() {
  machine_up --from packages --ipv6-only
  install
  expect_status 0
  expect 'not healthy' healthy
  fact 'without any IPv4 address but loopback: healthy'
}

# --dry-run by the same code path, and --json.
scenario_dry_run() {
  machine_up --from bookworm
  INSTALL_ENV=()
  install --dry-run --json
  expect_status 0
  expect_text '"result":"planned"' 'Nothing was changed'
  expect 'something was changed' nothing_of_ours
  expect 'a log was written' as_shell '[ ! -e /var/log/sophia ]'
  expect 'a package was installed' as_shell '! dpkg -s postgresql 2>/dev/null | grep -q "ok installed"'
  fact 'the plan, nothing changed'
}

# Two at once: the second one is told so.
scenario_two_at_once() {
  machine_up --from packages
  install_behind
  log_says 'step application'
  install
  expect_status 75
  expect_text 'SOPHIA-S309'
  install_ended
  expect_status 0
  fact 'the second one: 75; the first one ended well'
}
