"""Run by store/migrate.py with Alembic; every statement names the schema sophia."""
