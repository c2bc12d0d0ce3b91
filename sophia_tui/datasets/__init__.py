"""The engine for JSON Lines files; knows no database and no screen."""
