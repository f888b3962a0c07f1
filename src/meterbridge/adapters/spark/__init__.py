"""Sealing on Apache Spark: the same batches, segments and logs as on one machine, from many."""
