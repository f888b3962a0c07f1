"""The database's schema, version by version (Alembic)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

from meterbridge.services.ledger_errors import SchemaTooNew

HEAD: Final = "0008"
"""The newest revision; a test compares it with the scripts."""
_FOLDER: Final = Path(__file__).parent
_TABLE: Final = "alembic_version"


def migrate(connection: Connection) -> None:
    """Bring a database to the newest schema, within the transaction of `connection`.

    Raises:
        SchemaTooNew: when its revision is none of ours.
    """
    found = revision(connection)
    if found == HEAD:
        return
    from alembic import command  # a tenth of a second to load: only when there is something to do
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise SchemaTooNew(
            f"the ledger has schema {found!r}, which this version does not know (it goes up to {HEAD!r}); "
            "a later version of Meterbridge wrote it: use that one",
            found,
        )
    command.upgrade(config, "head")


def revision(connection: Connection) -> str | None:
    """Return the revision of a database's schema, or None where there is none yet."""
    if not inspect(connection).has_table(_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {_TABLE}")).scalar_one_or_none()
    return None if found is None else str(found)
