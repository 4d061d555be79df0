"""Alembic's environment: migrates over the connection that the database hands in."""

from alembic import context

from simba_music.listening.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
