"""`make bench`: everything in one process tree against the embedded Kafka and PostgreSQL.

    python -m tests.benchmarks [--quick] [provisioning|terminations|relay|audit|audit_search ...]

`--quick` uses a tenth of the events; the figures that count come from a whole run (some minutes).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import structlog
import uvloop

from deploy.topics import create_topics, wait_for_kafka
from shared.contracts.topics import TOPICS
from shared.process import spare_the_collector
from tests.benchmarks import (
    console_pages,
    console_records,
    provisioning,
    relay,
    replaying,
    reviewing,
    terminations,
    who_had_access,
    workload,
)
from tests.benchmarks.audit_append import audit_append_vs_limit
from tests.benchmarks.audit_search import audit_search
from tests.benchmarks.peer import VARIANTS, run_peer
from tests.benchmarks.report import Figure, publish
from tests.servers import (
    TopicMaker,
    database_copy,
    kafka_server,
    postgres_server,
    template_database,
)

RUNS = 3
EVENTS = 20_000
PEER_EVENTS = 1_000
RELAY_MESSAGES = 50_000
SAMPLES = 200
BACKLOG = 100_000
ACCOUNTS = 1_000_000
"""Account histories; loading them takes two minutes."""

WORKERS = 100_000
"""Whom a change of the directory concerns."""

PARTS = (
    "provisioning",
    "terminations",
    "relay",
    "audit",
    "audit_search",
    "history",
    "replay",
    "reviews",
    "console",
    "console_reviews",
    "console_audit",
)
REVIEWED = 1_000_000
"""Lines of one campaign."""

ASKED_ABOUT = 200_000
"""Lines of the campaign that is looked at."""

LOGGED = 1_000_000
"""Entries of the log that is searched."""

LOGGED_LARGE = 10_000_000
LARGE_PARTS = ("audit_search_large",)
"""Only run when named: they take tens of gigabytes of disk."""

KNOWN = PARTS + LARGE_PARTS

ERROR_LEVEL = 40


def say(line: str) -> None:
    """Progress, on standard error."""
    print(f"  {line}", file=sys.stderr, flush=True)


class Bench:
    """One run of the benchmarks against one pair of servers."""

    def __init__(self, kafka: str, admin_dsn: str, template: str, scale: float) -> None:
        self.kafka = kafka
        self.admin_dsn = admin_dsn
        self.template = template
        self.scale = scale
        self.topics = TopicMaker(kafka)
        self.figures: list[Figure] = []

    def _scaled(self, number: int) -> int:
        return max(100, int(number * self.scale))

    async def provisioning(self) -> None:
        """Events a second over the best peer and over plain COPY.

        Four events of a worker wait in the measured topic, twenty in the backlog: what waits of one
        worker is decided about at once, while the peer takes as long for each.
        """
        count, many = self._scaled(EVENTS), self._scaled(BACKLOG)
        topic, backlog = await self.topics(partitions=6), await self.topics(partitions=6)
        await workload.produce(self.kafka, topic, workload.events(count))
        await workload.produce(self.kafka, backlog, workload.events(many))
        ours: list[float] = []
        behind: list[float] = []
        limits: list[float] = []
        peers: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        for number in range(RUNS + 1):
            say(f"provisioning, peer and limit: run {number} of {RUNS} (0 warms up)")
            async with database_copy(self.admin_dsn, self.template) as dsns:
                rate, rows = await provisioning.run_provisioning(self.kafka, dsns, topic, count)
                limit = await provisioning.run_limit(self.kafka, dsns, topic, count, rows)
                peer_rates = {
                    variant: await run_peer(
                        self.kafka, dsns, topic, self._scaled(PEER_EVENTS), variant
                    )
                    for variant in VARIANTS
                }
            async with database_copy(self.admin_dsn, self.template) as dsns:
                caught, _ = await provisioning.run_provisioning(self.kafka, dsns, backlog, many)
            if number:
                ours.append(rate)
                behind.append(caught)
                limits.append(limit)
                for variant, peer_rate in peer_rates.items():
                    peers[variant].append(peer_rate)
        best = max(peers, key=lambda variant: statistics.median(peers[variant]))
        rate, limit = statistics.median(ours), statistics.median(limits)
        peer_rate = statistics.median(peers[best])
        self.figures += [
            Figure(
                "provisioning.vs_peer",
                rate,
                "events/s",
                f"peer, {best}: {peer_rate:,.0f}/s",
                rate / peer_rate,
                RUNS,
            ),
            Figure(
                f"provisioning.vs_peer ({many:,} events of as many workers)",
                statistics.median(behind),
                "events/s",
                f"peer, {best}: {peer_rate:,.0f}/s",
                statistics.median(behind) / peer_rate,
                RUNS,
            ),
            Figure(
                "provisioning.vs_limit",
                rate,
                "events/s",
                f"COPY of as many rows: {limit:,.0f}/s",
                rate / limit,
                RUNS,
            ),
        ]

    async def terminations(self) -> None:
        """How soon removals are ordered, idle, behind a backlog and during a recompute."""
        await create_topics(self.kafka, TOPICS, replication=1)
        with tempfile.TemporaryDirectory() as folder:
            async with database_copy(self.admin_dsn, self.template) as dsns:
                found = await terminations.measure(
                    self.kafka,
                    dsns,
                    Path(folder),
                    samples=self._scaled(SAMPLES),
                    backlog=self._scaled(BACKLOG),
                    workers=self._scaled(WORKERS),
                    say=say,
                )
        idle_p99 = terminations.percentile(found.idle.ordered, 0.99)
        samples = len(found.idle.ordered)
        for name, values in (
            ("termination.idle", found.idle.ordered),
            ("termination.idle_confirmed", found.idle.confirmed),
        ):
            for label, share in (("p50", 0.5), ("p99", 0.99)):
                value = terminations.percentile(values, share) * 1000
                self.figures.append(Figure(f"{name}_{label}", value, "ms", runs=samples))
        for name, values in (
            ("termination.backlog_over_idle_p99", found.backlog.ordered),
            ("termination.recompute_over_idle_p99", found.recompute.ordered),
        ):
            value = terminations.percentile(values, 0.99)
            self.figures.append(
                Figure(
                    name,
                    value * 1000,
                    "ms",
                    f"idle p99: {idle_p99 * 1000:.1f} ms",
                    value / idle_p99,
                    samples,
                )
            )

    async def relay(self) -> None:
        """Messages a second through the outbox relay, over plain sending."""
        topic = await self.topics(partitions=6)
        messages = workload.events(self._scaled(RELAY_MESSAGES))
        ours, plain = [], []
        for number in range(RUNS + 1):
            say(f"outbox relay and plain sending: run {number} of {RUNS} (0 warms up)")
            async with database_copy(self.admin_dsn, self.template) as dsns:
                relayed = await relay.run_relay_once(self.kafka, dsns, topic, messages)
                sent = await relay.run_plain(self.kafka, topic, messages)
            if number:
                ours.append(relayed)
                plain.append(sent)
        rate, limit = statistics.median(ours), statistics.median(plain)
        self.figures.append(
            Figure(
                "outbox.relay",
                rate,
                "messages/s",
                f"plain send and gather: {limit:,.0f}/s",
                rate / limit,
                RUNS,
            )
        )

    async def audit(self) -> None:
        """Entries a second of the log over COPY of the raw records."""
        say("audit log and COPY")
        with tempfile.TemporaryDirectory() as folder:
            async with database_copy(self.admin_dsn, self.template) as dsns:
                found = await audit_append_vs_limit(dsns, Path(folder))
        self.figures += [
            Figure(
                "audit.append_vs_limit",
                found.entries_per_second,
                "entries/s",
                f"COPY of the raw records: {found.limit_per_second:,.0f}/s",
                found.ratio,
                found.runs,
            ),
            Figure(
                "audit.bytes_per_entry",
                found.bytes_per_entry,
                "bytes",
                f"an event of {found.event_bytes:.0f} bytes",
                found.bytes_per_entry / found.event_bytes,
                found.runs,
            ),
        ]

    async def audit_search(self) -> None:
        """Searches and proofs at a size, and what the projection takes."""
        await self._audit_search(LOGGED)

    async def audit_search_large(self) -> None:
        """The same at ten times the size."""
        await self._audit_search(LOGGED_LARGE)

    async def _audit_search(self, entries: int) -> None:
        say("audit log: filling it for searches")
        with tempfile.TemporaryDirectory() as folder:
            async with database_copy(self.admin_dsn, self.template) as dsns:
                found = await audit_search(dsns, Path(folder), self._scaled(entries), say=say)
        at = f"{found.entries:,} entries"
        asked = {"all": found.all_searches, **found.searches}
        for name, times in asked.items():
            label = "audit.search_p95" if name == "all" else f"audit.search_p95 ({name})"
            value = terminations.percentile(times, 0.95) * 1000
            self.figures.append(Figure(label, value, "ms", at, runs=len(times)))
        proof = terminations.percentile(found.proofs, 0.99) * 1000
        self.figures += [
            Figure("audit.proof_p99", proof, "ms", at, runs=len(found.proofs)),
            Figure("audit.search_bytes_per_entry", found.bytes_per_entry, "bytes", at),
            Figure(
                "audit.append_single_p99",
                terminations.percentile(found.single, 0.99) * 1000,
                "ms",
                at,
                runs=len(found.single),
            ),
            Figure("audit.verify_per_core", found.verified_per_second, "entries/s", "offline"),
            Figure(
                "audit.verify_payloads_per_core",
                found.verified_with_payloads_per_second,
                "entries/s",
                "offline, each payload too",
            ),
            Figure("audit.projected", found.projected_per_second, "entries/s", at),
        ]

    async def history(self) -> None:
        """Who had access at a moment, among many account histories."""
        say("who had access: loading histories")
        with tempfile.TemporaryDirectory() as folder:
            async with database_copy(self.admin_dsn, self.template) as dsns:
                found = await who_had_access.measure(dsns, Path(folder), self._scaled(ACCOUNTS))
        value = terminations.percentile(found.seconds, 0.95) * 1000
        at = (
            f"{found.accounts:,} accounts, {found.rows:,} stretches;"
            f" {found.median_people:,.0f} people in the median answer"
        )
        self.figures.append(
            Figure("history.who_had_access_p95", value, "ms", at, runs=len(found.seconds))
        )

    async def replay(self) -> None:
        """Events retold and compared a second, over deciding about them the first time."""
        say("replay: deciding about what is to be replayed")
        messages = workload.events(self._scaled(EVENTS))
        topic = await self.topics(partitions=6)
        await workload.produce(self.kafka, topic, messages)
        async with database_copy(self.admin_dsn, self.template) as dsns:
            decided, _ = await provisioning.run_provisioning(self.kafka, dsns, topic, len(messages))
            rate, count = await replaying.run_replay(dsns, messages)
        against = f"{count:,} events, of which HR's were decided about at {decided:,.0f}/s"
        self.figures.append(Figure("replay", rate, "events/s", against, rate / decided))

    async def reviews(self) -> None:
        """Lines a second that a campaign opens in the background, and that are decided in bulk."""
        say("reviews: opening a campaign")
        async with database_copy(self.admin_dsn, self.template) as dsns:
            found = await reviewing.measure(dsns, self._scaled(REVIEWED))
        longest = max(found.chunks)
        bulk = f"{len(found.bulks)} bulks of {found.decided / len(found.bulks):,.0f} lines"
        self.figures += [
            Figure(
                "reviews.campaign_open",
                found.lines / sum(found.chunks),
                "lines/s",
                f"{found.lines:,} lines; longest transaction {longest * 1000:,.0f} ms",
                runs=len(found.chunks),
            ),
            Figure("reviews.campaign_shown", found.shown * 1000, "ms", f"{found.lines:,} lines"),
            Figure("reviews.bulk", found.decided / sum(found.bulks), "lines/s", bulk),
        ]

    async def console(self) -> None:
        """Every page of the console among very many people; how long the slowest takes."""
        await create_topics(self.kafka, TOPICS, replication=1)
        with tempfile.TemporaryDirectory() as folder:
            async with database_copy(self.admin_dsn, self.template) as dsns:
                found = await console_pages.measure(
                    self.kafka,
                    dsns,
                    Path(folder),
                    workers=self._scaled(WORKERS),
                    say=say,
                )
        at = f"{found.workers:,} workers, {found.accounts:,} accounts"
        self._console_paged("console.page_p95", found.seconds, at)

    async def console_reviews(self) -> None:
        """Every page about reviews, for a reviewer of many lines and for an overseer."""
        await create_topics(self.kafka, TOPICS, replication=1)
        lines = self._scaled(ASKED_ABOUT)
        with tempfile.TemporaryDirectory() as folder:
            async with database_copy(self.admin_dsn, self.template) as dsns:
                seconds = await console_records.measure_reviews(
                    self.kafka, dsns, Path(folder), lines=lines, say=say
                )
        self._console_paged("console.reviews_p95", seconds, f"a campaign of {lines:,} lines")

    async def console_audit(self) -> None:
        """Every page about the audit log."""
        await create_topics(self.kafka, TOPICS, replication=1)
        entries = self._scaled(LOGGED)
        with tempfile.TemporaryDirectory() as folder:
            async with database_copy(self.admin_dsn, self.template) as dsns:
                seconds = await console_records.measure_audit(
                    self.kafka, dsns, Path(folder), entries=entries, say=say
                )
        self._console_paged("console.audit_p95", seconds, f"{entries:,} entries")

    def _console_paged(self, name: str, seconds: dict[str, list[float]], at: str) -> None:
        """How long the slowest page takes, and the one in the middle."""
        p95 = {page: terminations.percentile(each, 0.95) for page, each in seconds.items()}
        slowest = max(p95, key=lambda page: p95[page])
        at = f"{slowest} of {len(p95)}; {at}"
        runs = len(seconds[slowest])
        self.figures += [
            Figure(name, p95[slowest] * 1000, "ms", at, runs=runs),
            Figure(
                f"{name} (median page)",
                statistics.median(p95.values()) * 1000,
                "ms",
                at,
                runs=runs,
            ),
        ]


async def main(kafka: str, admin_dsn: str, parts: list[str], scale: float) -> None:
    """Run the parts in order and publish what they measured."""
    await wait_for_kafka(kafka, 60)
    async with template_database(admin_dsn) as template:
        bench = Bench(kafka, admin_dsn, template, scale)
        try:
            for part in parts:
                await getattr(bench, part)()
        finally:
            await bench.topics.delete_all()
    publish(bench.figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(KNOWN)}")
    parser.add_argument("--quick", action="store_true", help="a tenth of the events")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(KNOWN):
        parser.error(f"there is no part called {', '.join(sorted(unknown))}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(ERROR_LEVEL))
    spare_the_collector()
    with kafka_server() as servers, postgres_server() as dsn:
        uvloop.run(main(servers, dsn, given.parts or list(PARTS), 0.1 if given.quick else 1.0))
