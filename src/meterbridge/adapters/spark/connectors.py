"""What the connectors of lakes and queues need before Spark reads by them what is there, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from meterbridge.adapters.spark.session import SparkFailed

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

EXTENSIONS: Final = "spark.sql.extensions"
_SCALA: Final = "2.13"


@dataclass(frozen=True, slots=True)
class Connector:
    """One connector of Spark.

    Attributes:
        package: its coordinates, with {spark} for the version of Spark and {minor} for its first two numbers.
        extension: the extension of Spark's SQL without which it reads something else than the table's rows.
        settings: further settings that it cannot do without.
        options: options in whose absence it would read what is not to be counted.
        rewrites_files: whether a row may be in another file, or at another place in it, the next time.
    """

    package: str | None = None
    extension: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    rewrites_files: bool = False

    def settings_beside(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return settings of Spark that were given, and what else the connector needs."""
        found = {**self.settings, **given}
        if self.extension is not None:
            found[EXTENSIONS] = ",".join(dict.fromkeys([*_names(found.get(EXTENSIONS)), self.extension]))
        return found

    def require(self, spark: SparkSession) -> None:
        """Check that a session which was started elsewhere has the extension.

        Raises:
            SparkFailed: naming the setting.
        """
        there = spark.conf.get(EXTENSIONS, "")
        if self.extension is not None and self.extension not in _names(there):
            raise SparkFailed(
                f"without {EXTENSIONS}={self.extension} Spark would read rows that were deleted: "
                "start the session with it",
                there,
            )

    def advice(self, spark_version: str) -> str:
        """Say how to get it."""
        if self.package is None:
            return "add it by --packages group:artifact:version, or --jars"
        minor = ".".join(spark_version.split(".")[:2])
        return f"add --packages {self.package.format(spark=spark_version, minor=minor)}, or --jars"


_CONNECTORS: Final = {
    "delta": Connector(
        package=f"io.delta:delta-spark_{{minor}}_{_SCALA}:VERSION",
        extension="io.delta.sql.DeltaSparkSessionExtension",
        settings={"spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog"},
        rewrites_files=True,
    ),
    "iceberg": Connector(
        package=f"org.apache.iceberg:iceberg-spark-runtime-{{minor}}_{_SCALA}:VERSION", rewrites_files=True
    ),
    "hudi": Connector(
        package=f"org.apache.hudi:hudi-spark{{minor}}-bundle_{_SCALA}:VERSION", rewrites_files=True
    ),
    "kafka": Connector(
        package=f"org.apache.spark:spark-sql-kafka-0-10_{_SCALA}:{{spark}}",
        options={"kafka.isolation.level": "read_committed"},
    ),
}


def connector_of(name: str) -> Connector:
    """Return what is known of a connector, by its short name or its class; of most, nothing needs to be."""
    lower = name.lower()
    known = (c for short, c in _CONNECTORS.items() if lower == short or ("." in lower and short in lower))
    return next(known, Connector())


def _names(setting: str | None) -> list[str]:
    return [name.strip() for name in (setting or "").split(",") if name.strip()]
