# shellcheck shell=bash
# What the step of the firewall says.

MESSAGES_EN+=(
  [title_firewall]='Firewall (UFW)'
  [plan_firewall]='allow SSH, then enable UFW, prove it by a new connection, else undo it'
  [firewall_port]='      SSH port %s (found by: %s)'
  [firewall_rule]='      rule: %s'
  [firewall_no_ssh]='      No SSH server is found on this machine, so none is let in.'
  [firewall_kept]='      Rules of others stay as they are:'
  [firewall_world]='      Warning: a rule of UFW that is not ours leaves port %s open to everybody.'
  [firewall_policy]='      Warning: UFW lets in by default whatever no rule names (DEFAULT_INPUT_POLICY).
      It stays so; with "ufw default deny incoming" only the rules count.'
  [firewall_six_change]='      rule: IPV6=yes in /etc/default/ufw (with no, SSH over IPv6 would be locked out)'
  [firewall_six_changed]='      IPV6=yes now in /etc/default/ufw: with no, SSH over IPv6 would be locked out.'
  [firewall_six_out]='      Note: IPV6=no in /etc/default/ufw, so UFW lets no SSH in over IPv6. It stays so.'
  [firewall_not_root]='      Only root can see the rules that are in force.'
  [firewall_pending]='      An earlier run enabled UFW and could not prove it; that is undone first.'
  [firewall_off]='      UFW was not enabled; ports are filtered by nothing of ours. To enable it:
        %s'
  [firewall_skipped]='      Left out, nothing changed:'
  [firewall_no_systemd]='      systemd does not run here, so an enabled UFW could not be undone by itself.'
  [firewall_firewalld]='      firewalld is at work here, and two firewalls would break each other.
      Allow SSH there, or disable firewalld and run this step again.'
  [firewall_persistent]='      netfilter-persistent keeps rules here, and UFW can not be installed beside it.
      Keep your rules, or remove that package and run this step again.'
  [firewall_no_right]='      The kernel does not give this machine what UFW needs (a container without the
      capability NET_ADMIN, say). Filter in front of it, on the host.'
  [firewall_closed_already]='      Rules of others close this machine already; UFW beside them would be a second
      firewall. They stay. Let SSH in there, or remove them and run this step again:'
  [firewall_builtins]='      MANAGE_BUILTINS=yes in /etc/default/ufw: enabling UFW would take away rules of others.
      Set it to no, or remove these rules, and run this step again:'
  [firewall_nftables]='      Warning: nftables.service loads rules of its own at each start of the machine. Where they
      begin with "flush ruleset", UFW is without effect after that.'
  [firewall_denied]='      A rule of UFW denies SSH port %s, and it is not ours to change.
      Delete it (ufw delete deny ...) and run this step again.'
  [ask_firewall]='Enable the firewall now (SSH ports allowed: %s; the rest closed)?'
  [firewall_enabled]='      UFW is enabled; it is disabled by itself in %s s unless a new connection proves SSH.'
  [firewall_proved]='      Proved: a new connection from outside is greeted by sshd at %s'
  [firewall_proved_by_rules]='      Proved by the rules as the kernel has them; no connection from outside could be
      made from here. Try one yourself now, with this one open.'
  [firewall_second_session]='
      Open a SECOND window now and log in, leaving this one as it is (%s s left):

        %s
'
  [firewall_came_in]='      Did you get in? Without a yes the firewall is undone [y/n]'
  [firewall_not_confirmed]='      Not confirmed: UFW is disabled again. Its rules for SSH stay, without effect.'
  [firewall_undone]='UFW is disabled again.'
  [firewall_log]='What it said is in %s.'
  [firewall_no_write]='%s can not be written.'
  [firewall_rule_failed]='UFW did not take the rule for port %s; it was not enabled.'
  [firewall_no_undo]='The way back could not be armed, so UFW was not enabled.'
  [firewall_not_enabled]='UFW could not be enabled.'
  [firewall_undo_failed]='UFW could not be disabled.'
  [firewall_undo_failed_remedy]='A timer of systemd tries again (systemctl status sophia-firewall-undo.timer).'
  [firewall_not_proved]='UFW was enabled and disabled again: SSH would have been locked out.'
  [firewall_not_proved_remedy]='See "ufw show added" for a rule that is in the way, then run this step again.'
  [firewall_too_late]='The time was over before the proof was done, so UFW was disabled by itself.'
  [firewall_too_late_remedy]='Nothing is locked. Run this step again.'
  [proof_lost]='A new connection to port %s at %s got: %s.'
  [proof_no_rule]='No rule in the kernel lets port %s in over IPv%s.'
  [bad_api_sender]='SOPHIA_OPEN_API_PORT=yes needs SOPHIA_OPEN_API_FROM: who may come.'
  [bad_api_sender_remedy]='Give networks with commas, 10.0.0.0/8 or 2001:db8::/32 say, or any for everybody.'
  [firewall_api_open]='      The port of the API is open: %s'
  [firewall_api_closed]='      The port of the API is closed again: %s'
)

MESSAGES_PT+=(
  [title_firewall]='Firewall (UFW)'
  [plan_firewall]='permitir o SSH, ativar o UFW, provar com uma nova conexão, senão desfazer'
  [firewall_port]='      Porta SSH %s (encontrada por: %s)'
  [firewall_rule]='      regra: %s'
  [firewall_no_ssh]='      Nenhum servidor SSH foi encontrado nesta máquina; nenhum será liberado.'
  [firewall_kept]='      As regras de outros ficam como estão:'
  [firewall_world]='      Aviso: uma regra do UFW que não é nossa deixa a porta %s aberta a todos.'
  [firewall_policy]='      Aviso: por padrão o UFW deixa entrar o que nenhuma regra cita (DEFAULT_INPUT_POLICY).
      Fica assim; com "ufw default deny incoming" só valem as regras.'
  [firewall_six_change]='      regra: IPV6=yes em /etc/default/ufw (com no, o SSH por IPv6 ficaria bloqueado)'
  [firewall_six_changed]='      Agora IPV6=yes em /etc/default/ufw: com no, o SSH por IPv6 ficaria bloqueado.'
  [firewall_six_out]='      Nota: IPV6=no em /etc/default/ufw; o UFW não deixa entrar SSH por IPv6. Fica assim.'
  [firewall_not_root]='      Só o root vê as regras em vigor.'
  [firewall_pending]='      Uma execução anterior ativou o UFW e não pôde prová-lo; isso é desfeito antes.'
  [firewall_off]='      O UFW não foi ativado; nada nosso filtra as portas. Para ativá-lo:
        %s'
  [firewall_skipped]='      Deixado de fora, nada foi alterado:'
  [firewall_no_systemd]='      O systemd não está em execução; um UFW ativado não poderia ser desfeito sozinho.'
  [firewall_firewalld]='      O firewalld está em uso, e dois firewalls quebrariam um ao outro.
      Libere o SSH nele, ou desative-o e execute esta etapa de novo.'
  [firewall_persistent]='      O netfilter-persistent guarda regras aqui, e o UFW não pode ser instalado ao lado.
      Mantenha as suas regras, ou remova esse pacote e execute esta etapa de novo.'
  [firewall_no_right]='      O kernel não dá a esta máquina o que o UFW precisa (um contêiner sem a
      capacidade NET_ADMIN, por exemplo). Filtre na frente dela, no hospedeiro.'
  [firewall_closed_already]='      Regras de outros já fecham esta máquina; o UFW ao lado seria um segundo
      firewall. Elas ficam. Libere o SSH nelas, ou remova-as e execute esta etapa de novo:'
  [firewall_builtins]='      MANAGE_BUILTINS=yes em /etc/default/ufw: ativar o UFW apagaria regras de outros.
      Mude para no, ou remova estas regras, e execute esta etapa de novo:'
  [firewall_nftables]='      Aviso: o nftables.service carrega regras próprias a cada início da máquina. Se elas
      começam com "flush ruleset", depois disso o UFW fica sem efeito.'
  [firewall_denied]='      Uma regra do UFW nega a porta SSH %s, e não cabe a nós mudá-la.
      Apague-a (ufw delete deny ...) e execute esta etapa de novo.'
  [ask_firewall]='Ativar o firewall agora (portas SSH liberadas: %s; o resto fechado)?'
  [firewall_enabled]='      O UFW está ativo; em %s s ele se desativa sozinho se uma nova conexão não provar o SSH.'
  [firewall_proved]='      Provado: o sshd atende uma nova conexão de fora em %s'
  [firewall_proved_by_rules]='      Provado pelas regras carregadas no kernel; daqui não foi possível fazer uma conexão
      de fora. Faça você mesmo uma agora, com esta aberta.'
  [firewall_second_session]='
      Abra agora uma SEGUNDA janela e entre, deixando esta como está (restam %s s):

        %s
'
  [firewall_came_in]='      Você entrou? Sem um sim, o firewall é desfeito [s/n]'
  [firewall_not_confirmed]='      Não confirmado: o UFW foi desativado de novo. As regras do SSH ficam, sem efeito.'
  [firewall_undone]='O UFW foi desativado de novo.'
  [firewall_log]='O que ele disse está em %s.'
  [firewall_no_write]='%s não pode ser gravado.'
  [firewall_rule_failed]='O UFW não aceitou a regra para a porta %s; ele não foi ativado.'
  [firewall_no_undo]='O caminho de volta não pôde ser armado; por isso o UFW não foi ativado.'
  [firewall_not_enabled]='O UFW não pôde ser ativado.'
  [firewall_undo_failed]='O UFW não pôde ser desativado.'
  [firewall_undo_failed_remedy]='Um timer do systemd tenta de novo (systemctl status sophia-firewall-undo.timer).'
  [firewall_not_proved]='O UFW foi ativado e desativado de novo: o SSH teria ficado bloqueado.'
  [firewall_not_proved_remedy]='Veja em "ufw show added" a regra que atrapalha e execute esta etapa de novo.'
  [firewall_too_late]='O tempo acabou antes da prova, e o UFW se desativou sozinho.'
  [firewall_too_late_remedy]='Nada está bloqueado. Execute esta etapa de novo.'
  [proof_lost]='Uma nova conexão à porta %s em %s obteve: %s.'
  [proof_no_rule]='Nenhuma regra no kernel deixa entrar a porta %s por IPv%s.'
  [bad_api_sender]='SOPHIA_OPEN_API_PORT=yes precisa de SOPHIA_OPEN_API_FROM: quem pode vir.'
  [bad_api_sender_remedy]='Informe redes com vírgulas, por exemplo 10.0.0.0/8 ou 2001:db8::/32, ou any para todos.'
  [firewall_api_open]='      A porta da API está aberta: %s'
  [firewall_api_closed]='      A porta da API foi fechada de novo: %s'
)
