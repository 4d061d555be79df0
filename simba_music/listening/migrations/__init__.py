"""Migrations of the vote database, for Alembic."""
