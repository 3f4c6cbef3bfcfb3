"""A real Apache Kafka and a real PostgreSQL as child processes, without Docker or Java installed.

Kafka comes as its published jars with a Java runtime from a wheel, PostgreSQL as binaries from a
wheel. Both bind to the loopback address only, keep their data in a folder they are given, and
recover by themselves after being killed.
"""
