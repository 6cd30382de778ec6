"""Count scans and follows by scene and day."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "scene_count",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("appid", sa.String(32), nullable=False),
        sa.Column("scene", sa.String(64), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("scans", sa.Integer(), nullable=False),
        sa.Column("follows", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_scene_count"),
        sa.UniqueConstraint("appid", "scene", "day", name="uq_scene_count_appid_scene_day"),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )


def downgrade() -> None:
    op.drop_table("scene_count")
