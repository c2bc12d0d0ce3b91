# shellcheck shell=bash
# What the steps for Postgres and for Sophia's tables say.

# shellcheck disable=SC2034 # read by text() in log.sh
MESSAGES_EN+=(
  [title_postgres]='Database (Postgres)'
  [title_migrate]='Tables of Sophia'
  [plan_postgres]='the role and the database sophia in this machine'\''s Postgres; its address into the env file'
  [plan_migrate]='sophia store migrate'
  [pg_elsewhere]='      The store lies elsewhere (SOPHIA_STORE_URL); this machine'\''s Postgres is left alone.'
  [pg_starting]='      Postgres %s stands still; it is started.'
  [pg_place]='      Postgres %s on port %s'
  [pg_adopted]='      The role %s is there, and the password is right: it is taken over with all its data.'
  [pg_not_at_boot]='      Note: Postgres %s does not start by itself at boot (%s says so).'
  [pg_trust]='      Note: line %s of %s lets every account of this machine in without a password (trust).'
  [pg_kept_public]='      Note: every role of this server may connect to %s; it was left so.'
  [pg_ask_revoke]='The database %s was there before, and every role of this server may connect to it. Take that
right away (programs that use it with other roles stop working)?'
  [pg_ask_lower]='The role %s may do more than Sophia needs (superuser, create databases or roles). Take those
rights away?'
  [pg_rotating]='      The password is being changed; until that is done Sophia knows the old and the new one.'
  [pg_rotated]='      The role %s has a new password.'
  [pg_restarting]='      %s is restarted.'
  [pg_env_unreadable]='The env file %s can'\''t be read.'
  [pg_env_unreadable_remedy]='Check its owner, mode and encoding (UTF-8), then run this again.'
  [pg_no_such_cluster]='There is no Postgres %s here that can be used.'
  [pg_no_such_cluster_why]='SOPHIA_PG_CLUSTER names it. Found: %s'
  [pg_no_such_cluster_remedy]='Name one of those as VERSION/NAME (pg_lsclusters lists all), or unset SOPHIA_PG_CLUSTER.'
  [pg_missing]='There is no Postgres on this machine that can be used.'
  [pg_missing_why]='Version %s or newer is needed.'
  [pg_missing_remedy]='Install the package postgresql, then run this again.'
  [pg_not_made]='The Postgres cluster %s could not be made.'
  [pg_log_remedy]='The log is %s. Correct the cause, then run this again.'
  [pg_not_started]='Postgres %s (port %s) does not start.'
  [pg_port_taken]='Port %s is held by another program: %s.'
  [pg_not_started_remedy]='See journalctl -u %s. Where the port is taken: end that program, or give Postgres another one (pg_conftool %s set port 5433). Then run this again; the port is asked from Postgres.'
  [pg_no_super]='The administrator of Postgres %s can'\''t get in over its socket.'
  [pg_no_super_why]='Nothing was changed. The role postgres of the account %s is needed once, to make the role and
the database.'
  [pg_no_super_remedy]='In %s this line is missing, above all others:

    local   all   postgres   peer

Add it, run systemctl reload postgresql, then run this again.'
  [pg_unknown_password]='The role or the database %s is there already, and its password is not known.'
  [pg_unknown_password_why]='Neither the env file nor this run gives one. Nothing was changed.'
  [pg_wrong_password]='The password that was given is not the one of the role %s that is there.'
  [pg_wrong_password_why]='Postgres %s (port %s) has another one. Nothing was changed.'
  [pg_choices_remedy]='You can:
  1. bring the env file back from a backup (%s), or give the right password as the line
     %s=... of a file: --auto-env FILE; role and data are then taken over;
  2. give the role a new password, and keep the data: --rotate-db-password
     (other programs that use the role need the new one, too);
  3. keep what is there for somebody else, and start with an empty database; as postgres:
     ALTER DATABASE sophia RENAME TO sophia_old; ALTER ROLE sophia RENAME TO sophia_old;
     (a role that is renamed may need its password set again).
Then run this again.'
  [pg_foreign_database]='The database %s is there already and belongs to somebody else (%s).'
  [pg_foreign_database_why]='Sophia'\''s database must belong to the role %s. Nothing was changed.'
  [pg_foreign_database_remedy]='You can:
  1. give it to Sophia, with the data in it; as postgres: ALTER DATABASE sophia OWNER TO sophia;
     (make the role first where it is missing: CREATE ROLE sophia LOGIN;)
  2. keep it under another name: ALTER DATABASE sophia RENAME TO sophia_old;
  3. use another Postgres: SOPHIA_PG_CLUSTER=VERSION/NAME, or SOPHIA_STORE_URL.
Then run this again.'
  [pg_encoding]='The database %s is kept in %s, not in UTF8.'
  [pg_encoding_why]='Texts in other writings could not be stored in it. Nothing was changed.'
  [pg_encoding_remedy]='As postgres: rename it (ALTER DATABASE sophia RENAME TO sophia_old), run this again, and bring the data over with pg_dump --encoding=UTF8 sophia_old | psql sophia.'
  [pg_mighty]='The role %s may do more than Sophia should be able to.'
  [pg_mighty_why]='It is a superuser, or may make databases or roles, replicate, or pass over row security. Nothing
was changed.'
  [pg_mighty_remedy]='Say yes to taking those rights away (--auto-assume-yes), or do it as postgres: ALTER ROLE sophia NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS.'
  [pg_sql_failed]='Postgres %s refused what the set-up asked for: %s.'
  [pg_no_login]='The role %s can'\''t log in over TCP at 127.0.0.1, port %s.'
  [pg_no_login_listen]='The server does not listen there: listen_addresses is %s.'
  [pg_no_login_listen_remedy]='Where another program holds the port: end it, or give Postgres another one (pg_conftool %s set port 5433). Else: pg_conftool %s set listen_addresses localhost. Then systemctl restart postgresql@%s, and run this again.'
  [pg_no_login_line]='Line %s of %s decides, by the method %s. Lines of others are not touched.'
  [pg_no_login_none]='No line of %s is meant for it. Lines of others are not touched.'
  [pg_no_login_remedy]='This line is missing%s:

    host   sophia   sophia   127.0.0.1/32   scram-sha-256

Add it, run systemctl reload postgresql, then run this again.'
  [pg_above_line]=' above line %s'
  [pg_no_login_other]='The password is right, and a line of pg_hba.conf lets the role in; see above what Postgres said.'
  [pg_no_login_other_remedy]='See the log of Postgres (pg_lsclusters names it), then run this again.'
  [pg_rotation_failed]='The new password could not be proved by a login.'
  [pg_rotation_failed_why]='Sophia keeps the old and the new one and works with whichever the server takes.'
  [pg_rotation_failed_remedy]='See what Postgres said above, then run this again: it goes on from here.'
  [pg_restart_failed]='%s does not come up again.'
  [pg_restart_failed_remedy]='See journalctl -u %s. Then run this again: it goes on from here.'
  [pg_no_rotation]='There is no password here to be changed.'
  [pg_no_rotation_why]='SOPHIA_STORE_URL names a database that this set-up did not make.'
  [migrate_at]='      version %s'
  [migrate_failed]='Sophia'\''s tables could not be brought up to date.'
  [migrate_failed_remedy]='What Sophia said stands above. Correct the cause, then run this again; nothing was changed.'
)

MESSAGES_PT+=(
  [title_postgres]='Banco de dados (Postgres)'
  [title_migrate]='Tabelas da Sophia'
  [plan_postgres]='o papel e o banco sophia no Postgres desta máquina; o endereço dele no arquivo de ambiente'
  [plan_migrate]='sophia store migrate'
  [pg_elsewhere]='      O armazenamento fica em outro lugar (SOPHIA_STORE_URL); o Postgres desta máquina fica como
      está.'
  [pg_starting]='      O Postgres %s está parado; é iniciado.'
  [pg_place]='      Postgres %s na porta %s'
  [pg_adopted]='      O papel %s já existe e a senha está certa: é adotado com todos os dados.'
  [pg_not_at_boot]='      Nota: o Postgres %s não inicia sozinho com a máquina (assim diz %s).'
  [pg_trust]='      Nota: a linha %s de %s deixa toda conta desta máquina entrar sem senha (trust).'
  [pg_kept_public]='      Nota: todo papel deste servidor pode se conectar a %s; ficou assim.'
  [pg_ask_revoke]='O banco %s já existia, e todo papel deste servidor pode se conectar a ele. Tirar esse direito
(programas que o usam com outros papéis param de funcionar)?'
  [pg_ask_lower]='O papel %s pode mais do que a Sophia precisa (superusuário, criar bancos ou papéis). Tirar esses
direitos?'
  [pg_rotating]='      A senha está sendo trocada; até o fim a Sophia conhece a antiga e a nova.'
  [pg_rotated]='      O papel %s tem uma senha nova.'
  [pg_restarting]='      %s é reiniciado.'
  [pg_env_unreadable]='O arquivo de ambiente %s não pode ser lido.'
  [pg_env_unreadable_remedy]='Confira dono, modo e codificação (UTF-8) e execute de novo.'
  [pg_no_such_cluster]='Não há aqui um Postgres %s que possa ser usado.'
  [pg_no_such_cluster_why]='SOPHIA_PG_CLUSTER o indica. Encontrados: %s'
  [pg_no_such_cluster_remedy]='Indique um desses como VERSÃO/NOME (pg_lsclusters lista todos), ou apague SOPHIA_PG_CLUSTER.'
  [pg_missing]='Não há nesta máquina um Postgres que possa ser usado.'
  [pg_missing_why]='É preciso a versão %s ou mais nova.'
  [pg_missing_remedy]='Instale o pacote postgresql e execute de novo.'
  [pg_not_made]='O cluster %s do Postgres não pôde ser criado.'
  [pg_log_remedy]='O registro é %s. Corrija a causa e execute de novo.'
  [pg_not_started]='O Postgres %s (porta %s) não inicia.'
  [pg_port_taken]='A porta %s está com outro programa: %s.'
  [pg_not_started_remedy]='Veja journalctl -u %s. Se a porta está ocupada: encerre aquele programa, ou dê outra ao Postgres (pg_conftool %s set port 5433). Depois execute de novo; a porta é perguntada ao Postgres.'
  [pg_no_super]='O administrador do Postgres %s não consegue entrar pelo soquete.'
  [pg_no_super_why]='Nada foi mudado. O papel postgres da conta %s é necessário uma vez, para criar o papel e o banco.'
  [pg_no_super_remedy]='Em %s falta esta linha, acima de todas as outras:

    local   all   postgres   peer

Acrescente-a, execute systemctl reload postgresql e depois execute isto de novo.'
  [pg_unknown_password]='O papel ou o banco %s já existe, e a senha não é conhecida.'
  [pg_unknown_password_why]='Nem o arquivo de ambiente nem esta execução traz uma. Nada foi mudado.'
  [pg_wrong_password]='A senha dada não é a do papel %s que existe.'
  [pg_wrong_password_why]='O Postgres %s (porta %s) tem outra. Nada foi mudado.'
  [pg_choices_remedy]='Você pode:
  1. trazer o arquivo de ambiente de volta de um backup (%s), ou dar a senha certa como a linha
     %s=... de um arquivo: --auto-env ARQUIVO; o papel e os dados são então adotados;
  2. dar uma senha nova ao papel e manter os dados: --rotate-db-password
     (outros programas que usam o papel também precisam da nova);
  3. deixar o que existe para outra pessoa e começar com um banco vazio; como postgres:
     ALTER DATABASE sophia RENAME TO sophia_old; ALTER ROLE sophia RENAME TO sophia_old;
     (um papel renomeado pode precisar que a senha seja definida de novo).
Depois execute de novo.'
  [pg_foreign_database]='O banco %s já existe e pertence a outro papel (%s).'
  [pg_foreign_database_why]='O banco da Sophia precisa pertencer ao papel %s. Nada foi mudado.'
  [pg_foreign_database_remedy]='Você pode:
  1. dá-lo à Sophia, com os dados; como postgres: ALTER DATABASE sophia OWNER TO sophia;
     (antes crie o papel se ele faltar: CREATE ROLE sophia LOGIN;)
  2. guardá-lo com outro nome: ALTER DATABASE sophia RENAME TO sophia_old;
  3. usar outro Postgres: SOPHIA_PG_CLUSTER=VERSÃO/NOME, ou SOPHIA_STORE_URL.
Depois execute de novo.'
  [pg_encoding]='O banco %s está em %s, não em UTF8.'
  [pg_encoding_why]='Textos em outras escritas não caberiam nele. Nada foi mudado.'
  [pg_encoding_remedy]='Como postgres: renomeie-o (ALTER DATABASE sophia RENAME TO sophia_old), execute isto de novo e traga os dados com pg_dump --encoding=UTF8 sophia_old | psql sophia.'
  [pg_mighty]='O papel %s pode mais do que a Sophia deveria poder.'
  [pg_mighty_why]='É superusuário, ou pode criar bancos ou papéis, replicar, ou passar pela segurança de linhas.
Nada foi mudado.'
  [pg_mighty_remedy]='Diga sim a tirar esses direitos (--auto-assume-yes), ou faça-o como postgres: ALTER ROLE sophia NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS.'
  [pg_sql_failed]='O Postgres %s recusou o que a instalação pediu: %s.'
  [pg_no_login]='O papel %s não consegue entrar por TCP em 127.0.0.1, porta %s.'
  [pg_no_login_listen]='O servidor não escuta ali: listen_addresses é %s.'
  [pg_no_login_listen_remedy]='Se outro programa está com a porta: encerre-o, ou dê outra ao Postgres (pg_conftool %s set port 5433). Senão: pg_conftool %s set listen_addresses localhost. Depois systemctl restart postgresql@%s, e execute isto de novo.'
  [pg_no_login_line]='A linha %s de %s decide, pelo método %s. Linhas de outros não são tocadas.'
  [pg_no_login_none]='Nenhuma linha de %s vale para ele. Linhas de outros não são tocadas.'
  [pg_no_login_remedy]='Falta esta linha%s:

    host   sophia   sophia   127.0.0.1/32   scram-sha-256

Acrescente-a, execute systemctl reload postgresql e depois execute isto de novo.'
  [pg_above_line]=' acima da linha %s'
  [pg_no_login_other]='A senha está certa, e uma linha de pg_hba.conf deixa o papel entrar; veja acima o que o Postgres
disse.'
  [pg_no_login_other_remedy]='Veja o registro do Postgres (pg_lsclusters o indica) e execute de novo.'
  [pg_rotation_failed]='A senha nova não pôde ser provada por um login.'
  [pg_rotation_failed_why]='A Sophia guarda a antiga e a nova e funciona com a que o servidor aceitar.'
  [pg_rotation_failed_remedy]='Veja acima o que o Postgres disse e execute de novo: continua daqui.'
  [pg_restart_failed]='%s não volta a funcionar.'
  [pg_restart_failed_remedy]='Veja journalctl -u %s. Depois execute de novo: continua daqui.'
  [pg_no_rotation]='Não há aqui senha a ser trocada.'
  [pg_no_rotation_why]='SOPHIA_STORE_URL indica um banco que esta instalação não criou.'
  [migrate_at]='      versão %s'
  [migrate_failed]='As tabelas da Sophia não puderam ser atualizadas.'
  [migrate_failed_remedy]='O que a Sophia disse está acima. Corrija a causa e execute de novo; nada foi mudado.'
)
