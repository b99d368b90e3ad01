"""No server runs any more that does not look for small blobs. From now on, they are kept with the rows."""

revision = "0008"
down_revision = "0007"


def upgrade() -> None: ...
