"""Alembic's entry: the connection, its transaction and its lock come from store/migrate.py."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table_schema=context.config.attributes["schema"],
)
context.run_migrations()
