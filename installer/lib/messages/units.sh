# shellcheck shell=bash
# What the step units says: services, the command for colleagues, who is in the group.
# shellcheck disable=SC2154 # the names in brackets are keys

MESSAGES_EN+=(
  [title_units]='Services and the command sophia'
  [plan_units]='write the units, the polkit and sudoers rules and the command sophia; start the services'
  [units_changed]='      written: %s'
  [units_restarts]='      %s starts anew: %s'
  [units_why_new]='it was not running'
  [units_why_unit]='its unit changed'
  [units_why_release]='another release is in use'
  [units_why_env]='its env file changed'
  [units_command_taken]='%s is something else already.'
  [units_command_taken_why]='Whatever it is, somebody put it there; it stays as it is.'
  [units_command_taken_remedy]='Move it away, then run this again.'
  [units_sudoers_wrong]='The rule for sudo is not accepted by this version of sudo: nothing was put in place.'
  [units_sudoers_wrong_remedy]='The log is %s; visudo -c says whether the other rules are right.'
  [units_not_written]='%s could not be written.'
  [units_not_written_remedy]='Check free disk space and that its folder is there and writable.'
  [units_not_up]='%s does not stay up.'
  [units_not_up_why]='systemd says: %s.'
  [units_not_up_remedy]='See: journalctl --unit %s --lines 50'
)
MESSAGES_PT+=(
  [title_units]='Serviços e o comando sophia'
  [plan_units]='escrever as unidades, as regras do polkit e do sudo e o comando sophia; iniciar os serviços'
  [units_changed]='      gravado: %s'
  [units_restarts]='      %s inicia de novo: %s'
  [units_why_new]='não estava em execução'
  [units_why_unit]='a unidade mudou'
  [units_why_release]='outra versão está em uso'
  [units_why_env]='o arquivo env mudou'
  [units_command_taken]='%s já é outra coisa.'
  [units_command_taken_why]='Seja o que for, alguém o pôs ali; fica como está.'
  [units_command_taken_remedy]='Mova-o para outro lugar e execute de novo.'
  [units_sudoers_wrong]='A regra do sudo não é aceita por esta versão do sudo: nada foi instalado.'
  [units_sudoers_wrong_remedy]='O log está em %s; visudo -c diz se as outras regras estão certas.'
  [units_not_written]='%s não pôde ser gravado.'
  [units_not_written_remedy]='Verifique o espaço livre em disco e se a pasta existe e pode ser gravada.'
  [units_not_up]='%s não permanece em execução.'
  [units_not_up_why]='O systemd diz: %s.'
  [units_not_up_remedy]='Veja: journalctl --unit %s --lines 50'
)
