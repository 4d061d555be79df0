"""Listeners of studies: which study, and the checks before it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("listeners", sa.Column("study", sa.String(64)))
    op.add_column("listeners", sa.Column("checks", sa.JSON))


def downgrade() -> None:
    """Drop them."""
    for name in ("checks", "study"):
        op.drop_column("listeners", name)
