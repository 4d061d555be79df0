"""Battles of galleries: the gallery's name in a column of its own, no longer in the study's."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

BATTLES = sa.table("battles", *(sa.column(name) for name in ("origin", "study", "gallery")))
OF_GALLERIES = BATTLES.c.origin == "gallery"


def upgrade() -> None:
    """Add the column and move the names into it."""
    op.add_column("battles", sa.Column("gallery", sa.String(64)))
    moved = {"gallery": BATTLES.c.study, "study": sa.null()}
    op.execute(BATTLES.update().where(OF_GALLERIES).values(moved))


def downgrade() -> None:
    """Move the names back and drop the column."""
    op.execute(BATTLES.update().where(OF_GALLERIES).values({"study": BATTLES.c.gallery}))
    op.drop_column("battles", "gallery")
