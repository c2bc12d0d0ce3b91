#!/usr/bin/env bats
# What the installer is asked: options, languages, the plan.

setup() {
  load helpers
  make_checkout
}

@test "--help tells the options in English and ends with 0" {
  run install_sh --help
  [ "$status" -eq 0 ]
  [[ $output == *'--auto-env FILE'*'--dry-run'* ]]
  run install_sh --demo --help
  [ "$status" -eq 0 ]
  [[ $output == *'--demo'*'whole'*'--dry-run'* ]]
}

@test "--help speaks Portuguese by --lang, whatever stands first" {
  run install_sh --help --lang pt_BR
  [ "$status" -eq 0 ]
  [[ $output == *'Prepara a Sophia'* ]]
}

@test "the language is read from LC_ALL before LANG, as text" {
  LC_ALL=pt_PT.ISO-8859-1 LANG=en_US.UTF-8 run install_sh --help
  [[ $output == *'Prepara a Sophia'* ]]
  LC_ALL=C LANG=pt_BR.UTF-8 run install_sh --help
  [[ $output == *'Sets Sophia up'* ]]
}

@test "an unknown language is refused with 2" {
  run install_sh --demo --lang fr
  [ "$status" -eq 2 ]
  [[ $output == *'SOPHIA-U303'*fr* ]]
}

@test "--lang without a language is refused with 2" {
  run install_sh --demo --lang
  [ "$status" -eq 2 ]
  [[ $output == *'SOPHIA-U303'* ]]
}

@test "an unknown option is refused with 2 and named" {
  run install_sh --demo --frobnicate
  [ "$status" -eq 2 ]
  [[ $output == *'SOPHIA-U302'*--frobnicate* ]]
}

@test "the options of a server do not go with --demo, and nothing is done" {
  local before flag
  before=$(footprint)
  for flag in --auto-open-menu --auto-env=x --ssh-port=22 --json --upgrade --uninstall \
    --rotate-db-password --step=env; do
    run install_sh "$flag" --demo
    [ "$status" -eq 2 ]
    [[ $output == *"SOPHIA-U306"*"${flag%%=*}"* ]]
  done
  [ "$before" = "$(footprint)" ]
}

@test "what replaces an installation is one thing at a time" {
  run install_sh --upgrade --uninstall
  [ "$status" -eq 2 ]
  [[ $output == *'SOPHIA-U306'* ]]
  run install_sh --purge
  [ "$status" -eq 2 ]
  [[ $output == *'SOPHIA-U306'*--uninstall* ]]
}

@test "an option without its value is refused with 2 and named" {
  local flag
  for flag in --auto-env --ssh-port --step; do
    run install_sh --auto "$flag"
    [ "$status" -eq 2 ]
    [[ $output == *"SOPHIA-U305"*"$flag"* ]]
  done
}

@test "a port of SSH is a number from 1 to 65535" {
  local port
  for port in 0 65536 ssh 22x -1 '' 22222222222222222222; do
    run install_sh --auto "--ssh-port=$port"
    [ "$status" -eq 2 ] || { echo "port $port: $status"; false; }
  done
}

@test "a step that is not there is refused with 2" {
  run install_sh --auto --step frobnicate
  [ "$status" -eq 2 ]
  [[ $output == *'SOPHIA-U308'* ]]
}

@test "every exit code stands in --help" {
  local code
  run install_sh --help
  for code in 0 1 2 3 4 5 75 129 130 143; do
    [[ $output =~ (^|[^0-9])$code[,\ ] ]] || { echo "$code"; false; }
  done
}

@test "--dry-run shows every step and changes nothing" {
  local before
  before=$(footprint)
  run install_sh --demo --dry-run
  [ "$status" -eq 0 ]
  [[ $output == *'[1/7]'*'[7/7]'*'Nothing was changed'* ]]
  [ "$before" = "$(footprint)" ]
}

@test "a second installer in the same checkout is refused" {
  exec 8<"$CHECKOUT"
  flock 8
  run install_sh --demo --dry-run
  exec 8<&-
  [ "$status" -eq 75 ]
  [[ $output == *'SOPHIA-S309'* ]]
}
