"""The entries of all nodes, as their journals chained them."""

import sqlalchemy as sql
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "entries",
        sql.Column("node", sql.String(255), primary_key=True),
        sql.Column("sequence", sql.BigInteger, primary_key=True, autoincrement=False),
        sql.Column("wall", sql.Double, nullable=False),
        sql.Column("kind", sql.String(64), nullable=False),
        sql.Column("incident", sql.String(64), nullable=False),
        sql.Column("drill", sql.Boolean(create_constraint=False), nullable=False),
        sql.Column("payload", sql.Text, nullable=False),
        sql.Column("payload_hash", sql.String(64), nullable=False),
        sql.Column("previous", sql.String(64), nullable=False),
        sql.Column("digest", sql.String(64), nullable=False),
    )
    op.create_index("entries_by_incident", "entries", ["incident", "wall"])
    op.create_index("entries_by_wall", "entries", ["wall", "node", "sequence"])


def downgrade() -> None:
    op.drop_table("entries")
