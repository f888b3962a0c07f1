"""Starting Spark: what must be installed, and the settings that sealing relies on."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from meterbridge.domain.errors import MeterbridgeError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

JAVA_MIN: Final = 17
_CAUSES_MAX: Final = 32
_LOOPBACK: Final = "127.0.0.1"
_CLUSTER_OF_THIS_MACHINE: Final = "local-cluster"
SETTINGS: Final = {
    # Receipts travel as a few large cells: a batch is bounded by bytes, not by rows.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "65536",
    "spark.sql.execution.arrow.maxBytesPerBatch": str(64 << 20),
    # Places are numbers of tasks: nobody may merge two.
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.driver.maxResultSize": "0",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
}


class SparkMissing(MeterbridgeError):
    """PySpark or Java is not installed, or too old."""


class SparkFailed(MeterbridgeError):
    """Spark gave up; nothing was sealed."""


def require_spark() -> None:
    """Check that Spark can run here.

    Raises:
        SparkMissing: saying what to install.
    """
    if importlib.util.find_spec("pyspark") is None:
        raise SparkMissing('PySpark is not installed: pip install "meterbridge[spark]"', "pyspark")
    found = java_version()
    if found is None:
        raise SparkMissing(
            f"Spark needs Java {JAVA_MIN} or later and there is none: install it "
            "(apt install openjdk-17-jre-headless) or set JAVA_HOME",
            "java",
        )
    if found < JAVA_MIN:
        raise SparkMissing(
            f"Spark needs Java {JAVA_MIN} or later; this is Java {found}: set JAVA_HOME", found
        )


def java_version() -> int | None:
    """Return the major version of the Java that Spark would start, or None where there is none."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None:
        return None
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=60)
    except OSError:
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    return int(match[1]) if match else None


@contextmanager
def spark_session(master: str, settings: Mapping[str, str] | None = None) -> Iterator[SparkSession]:
    """Start Spark, and stop it at the end with all its processes.

    Args:
        master: as Spark names it: local[4], spark://host:7077, yarn, k8s://...
        settings: Spark's own; they come before ours.

    Raises:
        SparkMissing: saying what to install.
        SparkFailed: when it does not start.
    """
    require_spark()
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    with ExitStack() as stack:
        for name, value in _environment(master, stack).items():
            os.environ.setdefault(name, value)
        builder = SparkSession.builder.master(master).appName("meterbridge seal")
        for name, value in {**SETTINGS, **_addresses(master), **(settings or {})}.items():
            builder = builder.config(name, value)
        try:
            spark = builder.getOrCreate()
        except (PySparkException, Py4JError, OSError) as error:
            raise SparkFailed(f"Spark at {master} does not start: {first_line(error)}", master) from error
        try:
            yield spark
        finally:
            _stop(spark)


def first_line(error: BaseException) -> str:
    """Return what a Spark error says happened, without its traces: a sentence, and the cause of all.

    Java says it in one of a chain of exceptions, of which some only wrap the next.
    """
    thrown: Any = getattr(error, "java_exception", None)
    chain: list[tuple[str, str]] = []
    while thrown is not None and len(chain) < _CAUSES_MAX:
        chain.append((_first_words(thrown.getMessage()), str(thrown.toString())))
        thrown = thrown.getCause()
    said = [
        words
        for number, (words, _) in enumerate(chain, 1)
        if words and not any(words in whole or whole in words for _, whole in chain[number:])
    ]
    if chain and chain[-1][0]:
        said.append(chain[-1][0])
    if said:
        return ": ".join(dict.fromkeys([said[0], said[-1]]))
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    from_python = len(lines) > 1 and "Python worker" in lines[0]
    return lines[-1 if from_python else 0] if lines else type(error).__name__


def _first_words(message: str | None) -> str:
    """Return the lines of a message before its first blank one or its trace, as one."""
    said: list[str] = []
    for line in (message or "").splitlines():
        words = line.strip()
        if words.startswith("at ") or (said and not words):
            break
        said.append(words)
    return " ".join(word for word in said if word)


def _addresses(master: str) -> dict[str, str]:
    if not master.startswith("local"):
        return {}
    return {"spark.driver.host": _LOOPBACK, "spark.driver.bindAddress": _LOOPBACK}


def _environment(master: str, stack: ExitStack) -> dict[str, str]:
    """Return what Spark's processes must find in their environment."""
    found = {"PYSPARK_PYTHON": sys.executable}
    if master.startswith("local"):
        found["SPARK_LOCAL_IP"] = _LOOPBACK
    if master.startswith(_CLUSTER_OF_THIS_MACHINE) and "SPARK_HOME" not in os.environ:
        found["SPARK_HOME"] = stack.enter_context(_borrowed_home())
        stack.callback(os.environ.pop, "SPARK_HOME")
    return found


@contextmanager
def _borrowed_home() -> Iterator[str]:
    """Give a home that refers to PySpark's files: workers keep their logs in it, not among the packages."""
    import pyspark

    with tempfile.TemporaryDirectory(prefix="meterbridge-spark-", ignore_cleanup_errors=True) as folder:
        for path in Path(pyspark.__file__).parent.iterdir():
            (Path(folder) / path.name).symlink_to(path)
        yield folder


def _stop(spark: SparkSession) -> None:
    """Stop Spark and the Java process behind it, which would otherwise live as long as this one."""
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    spark.stop()
    process = getattr(gateway, "proc", None)
    if gateway is None or process is None:
        return
    gateway.shutdown()
    process.stdin.close()
    process.wait()
    SparkContext._gateway = SparkContext._jvm = None
