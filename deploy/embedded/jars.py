"""Kafka's jars: resolved once into `jars.lock`, fetched by it, checked against its SHA-256 sums."""

import sys
from collections.abc import Callable
from pathlib import Path

from jgo.env import LockedDependency, LockFile
from jgo.maven import MavenContext
from jgo.parse import Coordinate

from deploy.embedded.processes import turn_taken
from deploy.errors import CannotStart

COORDINATES = (
    "org.apache.kafka:kafka_2.13:4.3.1",
    # The exclamation mark keeps its own managed versions from overriding Kafka's.
    "org.slf4j:slf4j-simple:1.7.36!",
)
LOCK = Path(__file__).with_name("jars.lock")

DOWNLOAD_TIMEOUT_SECONDS = 60
DOWNLOAD_ATTEMPTS = 3


def fetch_jars(cache: Path, say: Callable[[str], None] = print) -> list[Path]:
    """The paths of Kafka's jars below `cache`, downloading what is missing or damaged.

    `say` is told about progress, one line at a time, and only if something is downloaded. Of
    several processes one downloads, and the others wait for it.

    Raises:
        CannotStart: a jar cannot be had, or what the repository serves is not what was locked.
    """
    lock = LockFile.load(LOCK)
    context = _context(cache)
    with turn_taken(cache / "lock"):
        wanted = [jar for jar in lock.dependencies if not _is_intact(jar, cache)]
        if wanted:
            say(f"Downloading Apache Kafka: {len(wanted)} jars, about 45 MB, once")
        for number, jar in enumerate(wanted, start=1):
            _download(context, jar, cache)
            if number % 10 == 0 or number == len(wanted):
                say(f"  {number} of {len(wanted)}")
    return [_path(jar, cache) for jar in lock.dependencies]


def write_lock(cache: Path) -> int:
    """Resolve `COORDINATES` anew into `jars.lock`; returns how many jars it names."""
    context = _context(cache)
    roots = [context.create_dependency(Coordinate.parse(text)) for text in COORDINATES]
    inputs, transitive = context.resolver.resolve(roots)
    needed = [jar for jar in (*inputs, *transitive) if jar.scope in (None, "compile", "runtime")]
    LockFile.from_resolved_dependencies(needed).save(LOCK)
    return len(needed)


def _context(cache: Path) -> MavenContext:
    return MavenContext(repo_cache=cache, timeout=DOWNLOAD_TIMEOUT_SECONDS)


def _path(jar: LockedDependency, cache: Path) -> Path:
    classifier = f"-{jar.classifier}" if jar.classifier else ""
    return (
        cache.joinpath(*jar.groupId.split("."), jar.artifactId, jar.version)
        / f"{jar.artifactId}-{jar.version}{classifier}.{jar.packaging}"
    )


def _is_intact(jar: LockedDependency, cache: Path) -> bool:
    return not LockFile([jar]).verify_checksums(cache)


def _download(context: MavenContext, jar: LockedDependency, cache: Path) -> None:
    path = _path(jar, cache)
    component = context.project(jar.groupId, jar.artifactId).at_version(jar.version)
    artifact = component.artifact(classifier=jar.classifier or "", packaging=jar.packaging)
    trouble = "what was served does not have the locked SHA-256"
    for _ in range(DOWNLOAD_ATTEMPTS):
        # A download that was cut short leaves part of a file, which would be taken for the jar.
        path.unlink(missing_ok=True)
        try:
            artifact.resolve()
        except (RuntimeError, OSError) as error:  # what requests raises is an OSError too
            trouble = str(error)
            continue
        if _is_intact(jar, cache):
            return
    path.unlink(missing_ok=True)
    raise CannotStart(
        f"Kafka's {path.name} could not be downloaded ({trouble}): "
        "check the connection to Maven Central and run again."
    )


if __name__ == "__main__":
    if sys.argv[1:] != ["--lock"]:
        sys.exit("usage: python -m deploy.embedded.jars --lock")
    print(f"jars.lock names {write_lock(Path('var/cache/jars'))} jars")
