"""`meterbridge seal --engine spark`: the same sealing on many machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from meterbridge.domain.errors import MeterbridgeError

if TYPE_CHECKING:
    from meterbridge.adapters.bulk.folder import BulkFolder
    from meterbridge.adapters.bulk.scan import Files
    from meterbridge.adapters.spark.sources import Source
    from meterbridge.entrypoints.cli.output import Output
    from meterbridge.services.bulk.sealing import SealOptions, SealReport
    from meterbridge.services.records import TariffRecord

DEFAULT_MASTER = "local[*]"
_STAGES = {
    "judge": "Reading, hashing and comparing",
    "write": "Writing parts",
    "assemble": "Writing index and nodes",
}


class BadSparkOption(MeterbridgeError):
    """An option of Spark's, or a combination of options, makes no sense."""


class Engine(StrEnum):
    """What seals files."""

    MACHINE = "machine"
    SPARK = "spark"


EngineOption = Annotated[
    Engine,
    typer.Option(
        "--engine", help="What seals --from: this machine, or Apache Spark (extra [spark], Java 17 or later)."
    ),
]
MasterOption = Annotated[
    str | None,
    typer.Option(
        "--master",
        metavar="URL",
        envvar="METERBRIDGE_SPARK_MASTER",
        help=f"Spark's master: spark://host:7077, yarn, k8s://..., local[4]; {DEFAULT_MASTER} by default.",
    ),
]
ConfOption = Annotated[
    list[str] | None,
    typer.Option("--conf", metavar="NAME=VALUE", help="A setting of Spark, e.g. spark.executor.memory=8g."),
]
PartitionsOption = Annotated[
    int | None,
    typer.Option(
        "--partitions",
        min=1,
        max=32_768,
        help="Into how many tasks Spark cuts the work: at least, or just so many where a source has no known "
        "size.",
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="Let Spark's connector read --from: parquet, delta, iceberg, orc, kafka, ...; files are read as "
        "without Spark by default.",
    ),
]
ReadOption = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="An option of that connector; repeat."),
]
JsonColumnOption = Annotated[
    str | None,
    typer.Option(
        "--json-column", metavar="NAME", help="The column that holds each record as JSON (--format)."
    ),
]
PackagesOption = Annotated[
    str | None,
    typer.Option(
        "--packages",
        metavar="COORDINATES",
        help="Connectors that Spark fetches from Maven (spark.jars.packages): group:artifact:version, ...; "
        "e.g. io.delta:delta-spark_4.1_2.13:4.1.0 for Spark 4.1.",
    ),
]
JarsOption = Annotated[
    str | None,
    typer.Option(
        "--jars", metavar="FILES", help="Connectors that are here already (spark.jars), with commas."
    ),
]


@dataclass(frozen=True, slots=True)
class SparkChoice:
    """The options of Spark as they were given; see their help."""

    engine: Engine
    master: str | None
    conf: list[str] | None
    partitions: int | None
    format: str | None
    options: list[str] | None
    json_column: str | None
    packages: str | None = None
    jars: str | None = None

    def require_none(self) -> None:
        """Refuse options of Spark where Spark is not asked for.

        Raises:
            BadSparkOption: naming the first.
        """
        given = {
            "--master": self.master,
            "--conf": self.conf,
            "--partitions": self.partitions,
            "--format": self.format,
            "--option": self.options,
            "--json-column": self.json_column,
            "--packages": self.packages,
            "--jars": self.jars,
        }
        for name, value in given.items():
            if value:
                raise BadSparkOption(f"{name} is for Spark: add --engine spark", value)

    def source(self, files: Files, names: Sequence[str]) -> Source:
        """Return what is to be sealed.

        Args:
            files: the files and what their rows mean.
            names: what --from said, which a connector reads as it likes.
        """
        from meterbridge.adapters.spark.sources import FileSource, SparkSource

        if self.format is None:
            if self.options or self.json_column:
                raise BadSparkOption(
                    "--option and --json-column are for a connector: name it by --format", None
                )
            return FileSource(files)
        options = pairs("--option", self.options)
        if self.format.lower() == "kafka" and names:
            raise BadSparkOption(
                "Kafka's connector reads topics, not --from: name them by --option subscribe=TOPIC,...",
                names[0],
            )
        return SparkSource(self.format, list(names), files, options, self.json_column)

    def settings(self) -> dict[str, str]:
        """Return the settings of Spark that were asked for, and those that the connector needs."""
        from meterbridge.adapters.spark.connectors import connector_of

        named = {"spark.jars.packages": self.packages, "spark.jars": self.jars}
        given = {name: value for name, value in named.items() if value}
        given |= pairs("--conf", self.conf)
        return given if self.format is None else connector_of(self.format).settings_beside(given)


def pairs(option: str, texts: Sequence[str] | None) -> dict[str, str]:
    """Return NAME=VALUE texts as pairs.

    Raises:
        BadSparkOption: naming the one that is none.
    """
    found = {}
    for text in texts or ():
        name, mark, value = text.partition("=")
        if not mark or not name:
            raise BadSparkOption(f"{option} {text!r} is not of the form NAME=VALUE", text)
        found[name] = value
    return found


def seal_on_spark(
    output: Output,
    bulk: BulkFolder,
    record: TariffRecord,
    source: Source,
    choice: SparkChoice,
    how: SealOptions,
) -> SealReport:
    """Start Spark, seal, and stop it."""
    from meterbridge.adapters.spark.sealing import SparkOptions, SparkSealing
    from meterbridge.adapters.spark.session import spark_session
    from meterbridge.adapters.spark.store import SparkSeals

    master = choice.master or DEFAULT_MASTER
    options = SparkOptions(choice.partitions, how.retention_days, how.skip_bad)
    with _steps(output) as tell:
        tell(f"Starting Spark at {master}")
        with spark_session(master, choice.settings()) as spark:
            sealing = SparkSealing(bulk.ledger, SparkSeals(bulk.seals), spark)
            return sealing.seal(
                record.id, source, options, lambda name: tell(_STAGES.get(name, "Committing"))
            )


@contextmanager
def _steps(output: Output) -> Iterator[Callable[[str], None]]:
    """Show which step is under way."""
    with ExitStack() as shown:

        def tell(title: str) -> None:
            shown.close()
            shown.enter_context(output.progress(title))

        yield tell
