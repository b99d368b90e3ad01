"""Adds indexes of names, and removes the secrets of network policies. Stores of this revision are in SQLite."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

containers = sa.table("containers", sa.column("seq"), sa.column("network_policy", sa.JSON))
answers = sa.table("answers", sa.column("namespace"), sa.column("key"), sa.column("body", sa.Text))


def upgrade() -> None:
    op.create_index("containers_name", "containers", ["namespace", "name", "created_at", "seq"])
    op.create_index("files_purpose", "files", ["namespace", "purpose", "created_at", "seq"])
    connection = op.get_bind()
    connection.exec_driver_sql("PRAGMA secure_delete = ON")  # otherwise overwritten text stays readable in the file
    policies = sa.select(containers.c.seq, containers.c.network_policy).where(containers.c.network_policy.is_not(None))
    for seq, policy in connection.execute(policies).all():
        if policy.pop("domain_secrets", None) is not None:
            connection.execute(sa.update(containers).where(containers.c.seq == seq).values(network_policy=policy))
    bodies = sa.select(answers).where(answers.c.body.contains("domain_secrets"))
    for namespace, key, body in connection.execute(bodies).all():
        answer = json.loads(body)
        (answer.get("network_policy") or {}).pop("domain_secrets", None)
        this = (answers.c.namespace == namespace) & (answers.c.key == key)
        connection.execute(sa.update(answers).where(this).values(body=json.dumps(answer)))
