"""First tables: listeners, battles, trials, votes, undos."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _id_in(table: str, column: str, index: bool = False) -> sa.Column[str]:
    """A column of ids of another table."""
    known = sa.ForeignKey(f"{table}.id")
    return sa.Column(column, sa.String(32), known, nullable=False, index=index)


def upgrade() -> None:
    """Create all tables."""
    time = sa.DateTime(timezone=True)
    op.create_table(
        "listeners",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("created", time, nullable=False),
        sa.Column("local", sa.Boolean, nullable=False),
        sa.Column("consent", sa.Text),
    )
    op.create_table(
        "battles",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("created", time, nullable=False),
        sa.Column("app_version", sa.String(32), nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("study", sa.String(64)),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("duration_s", sa.Float, nullable=False),
        sa.Column("sampling", sa.JSON, nullable=False),
        sa.Column("sides", sa.JSON, nullable=False),
    )
    op.create_table(
        "trials",
        sa.Column("id", sa.String(32), primary_key=True),
        _id_in("battles", "battle_id", index=True),
        _id_in("listeners", "listener_id", index=True),
        sa.Column("created", time, nullable=False),
        sa.Column("flipped", sa.Boolean, nullable=False),
        sa.Column("first", sa.String(1), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
    )
    op.create_table(
        "votes",
        sa.Column("id", sa.String(32), primary_key=True),
        _id_in("trials", "trial_id"),
        _id_in("listeners", "listener_id", index=True),
        sa.Column("created", time, nullable=False),
        sa.Column("preference", sa.String(8), nullable=False),
        sa.Column("ratings", sa.JSON, nullable=False),
        sa.Column("remark", sa.Text, nullable=False),
        sa.Column("heard", sa.JSON, nullable=False),
        sa.Column("switches", sa.Integer, nullable=False),
        sa.Column("seconds_to_vote", sa.Float, nullable=False),
        sa.Column("status", sa.String(8), nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.UniqueConstraint("trial_id", "listener_id"),
    )
    op.create_table(
        "undos",
        sa.Column("vote_id", sa.String(32), primary_key=True),
        _id_in("trials", "trial_id"),
        sa.Column("created", time, nullable=False),
        sa.Column("vote", sa.JSON, nullable=False),
    )


def downgrade() -> None:
    """Drop all tables."""
    for name in ("undos", "votes", "trials", "battles", "listeners"):
        op.drop_table(name)
