#!/usr/bin/env bats
# What the installer is asked: options, languages, the plan.

setup() {
  load helpers
  make_checkout
}

@test "--help tells the options in English and ends with 0" {
  run install_sh --help
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

@test "the options of a later version are refused with 2, and nothing is done" {
  local before flag
  before=$(footprint)
  for flag in --auto --auto-open-menu --auto-assume-yes '--auto-env=x'; do
    run install_sh "$flag" --demo
    [ "$status" -eq 2 ]
    [[ $output == *"SOPHIA-U301"*"${flag%%=*}"* ]]
  done
  run install_sh --auto-env some-file
  [ "$status" -eq 2 ]
  [[ $output == *'SOPHIA-U301'*--auto-env* ]]
  [ "$before" = "$(footprint)" ]
}

@test "without an option it says what this version knows, with 2" {
  run install_sh
  [ "$status" -eq 2 ]
  [[ $output == *'SOPHIA-U304'*--demo* ]]
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
  [ "$status" -eq 1 ]
  [[ $output == *'SOPHIA-S309'* ]]
}
