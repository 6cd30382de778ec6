"""Keep the menus that were pushed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import MEDIUMTEXT

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "menu_revision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("appid", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("note", sa.String(255), nullable=False),
        sa.Column("content", sa.Text().with_variant(MEDIUMTEXT(), "mysql"), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=True),
        sa.Column("pushing", sa.Boolean(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_menu_revision"),
        sa.UniqueConstraint("appid", "number", name="uq_menu_revision_appid_number"),
        sa.UniqueConstraint("appid", "current", name="uq_menu_revision_appid_current"),
        sa.UniqueConstraint("appid", "pushing", name="uq_menu_revision_appid_pushing"),
        sqlite_autoincrement=True,
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )


def downgrade() -> None:
    op.drop_table("menu_revision")
