"""The `portalkeeper` command.

Exit statuses: 0 done; 1 the answer is no (rejected, not ready, or the log is wrong); 2 the command
was written wrongly; 3 not signed in or not allowed; 4 a service does not answer; 5 a service
refused by a named rule; 130 interrupted.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined]

from services.cli import audit, hr
from services.cli.brake import brake_app
from services.cli.chores import chore_app
from services.cli.client import (
    Client,
    Exit,
    Failure,
    ask,
    read_session,
    store_session,
)
from services.cli.clients import client_app
from services.cli.dead_letters import dead_letters
from services.cli.directory import directory_app, simulate
from services.cli.doctor import doctor
from services.cli.enrolment import enrolment_app
from services.cli.exceptions import break_glass_app, exception_app
from services.cli.history import explain, who_had_access
from services.cli.imports import adopt, portal_app, simulator_app
from services.cli.leavers import leaver_app
from services.cli.leaving import leaving, sealed_app
from services.cli.maintenance import (
    backup,
    prune,
    restore,
    rotate_master,
    rotate_signing,
    succeed,
)
from services.cli.outages import clocks, incident_app, outage_app
from services.cli.own import own_app
from services.cli.people import people_app
from services.cli.printing import (
    AsJson,
    Rows,
    err,
    group,
    out,
    print_answer,
    print_json,
    progress_bar,
    text,
)
from services.cli.rejected import rejected_app
from services.cli.replay import replay
from services.cli.reviews import review_app
from services.cli.rosters import (
    hr_answer,
    hr_lists,
    hr_questions,
    hr_roster,
    hr_sources,
    hr_watch,
)
from services.cli.secrets import secret_app
from services.cli.training import training_app
from services.cli.where import where
from services.cli.work import work_app

SHELLS = ("bash", "zsh", "fish")
SOURCES_FILE = Path("var/secrets/gateway/sources.yaml")


class Sentences(typer.core.TyperGroup):
    """Ends every failure with a sentence and its exit status, never with a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except Failure as failure:
            err.print(failure.sentence)
            raise typer.Exit(failure.code) from None
        except KeyboardInterrupt:
            raise typer.Exit(Exit.INTERRUPTED) from None
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if error.__class__.__module__.startswith(("click", "typer")):
                raise
            err.print(f"This is our fault: {type(error).__name__}: {error}")
            raise typer.Exit(Exit.INTERNAL) from None


NOT_INSTALLED = "The embedded servers are not installed here. Run: make run"

app = typer.Typer(
    cls=Sentences,
    help="Keeps payer-portal access in step with HR.",
    epilog="Exit status: 0 done, 1 the answer is no, 2 written wrongly, 3 not allowed, "
    "4 no answer, 5 refused by a rule, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
demo_app = typer.Typer(pretty_exceptions_enable=False)
app.add_typer(demo_app, name="demo")
hr_app = group("What HR says.")
hr_app.add_typer(rejected_app, name="rejected")
hr_app.add_typer(secret_app, name="secret")
hr_app.command("roster")(hr_roster)
hr_app.command("lists")(hr_lists)
hr_app.command("watch")(hr_watch)
hr_app.command("questions")(hr_questions)
hr_app.command("answer")(hr_answer)
hr_app.command("sources")(hr_sources)
hr_app.add_typer(sealed_app, name="sealed")
hr_app.command("leaving")(leaving)
app.add_typer(hr_app, name="hr")
app.add_typer(directory_app, name="directory")
app.add_typer(enrolment_app, name="enrolment")
app.command("simulate")(simulate)
app.command("where")(where)
app.add_typer(people_app, name="people")
app.add_typer(work_app, name="work")
app.add_typer(chore_app, name="chore")
app.add_typer(exception_app, name="exception")
app.add_typer(break_glass_app, name="break-glass")
app.add_typer(brake_app, name="brake")
app.add_typer(outage_app, name="outage")
app.add_typer(incident_app, name="incident")
app.add_typer(leaver_app, name="leaver")
app.add_typer(own_app, name="own")
app.add_typer(training_app, name="training")
app.command()(clocks)
app.add_typer(portal_app, name="portal")
app.add_typer(client_app, name="client")
app.add_typer(simulator_app, name="simulator")
app.command()(adopt)
app.add_typer(review_app, name="review")
app.command("who-had-access")(who_had_access)
app.command("explain")(explain)
app.command("replay")(replay)
app.add_typer(audit.app, name="audit")
app.command()(doctor)
app.command("dead-letters")(dead_letters)
app.command()(backup)
app.command()(restore)
audit.app.command("prune")(prune)
audit.app.command("rotate-master")(rotate_master)
audit.app.command("rotate-signing")(rotate_signing)
audit.app.command("succeed")(succeed)


# -- starting


@app.command()
def run(
    without: Annotated[
        list[str] | None,
        typer.Option(help="A process that maintenance needs stopped; then nothing is played."),
    ] = None,
) -> None:
    """Start Kafka, PostgreSQL, every service and the example clinic, until stopped."""
    _start(demo=False, leaving_out=without or [])


@demo_app.callback(invoke_without_command=True)
def demo(context: typer.Context) -> None:
    """Play the example clinic once, print what happened, and end."""
    if context.invoked_subcommand is None:
        _start(demo=True)


@demo_app.command("leaver")
def demo_leaver() -> None:
    """Dismiss a biller of the example that runs here: work, ticks, HR's receipt."""
    try:
        from deploy.run import leaver
    except ModuleNotFoundError as error:
        raise Failure(Exit.NO, NOT_INSTALLED) from error
    raise typer.Exit(leaver())


def _start(*, demo: bool, leaving_out: Sequence[str] = ()) -> None:
    try:
        from deploy.run import run as start
    except ModuleNotFoundError as error:
        raise Failure(Exit.NO, NOT_INSTALLED) from error
    raise typer.Exit(start(demo=demo, leaving_out=leaving_out))


@app.command()
def completion(
    shell: Annotated[str, typer.Argument(help="bash, zsh or fish")],
) -> None:
    """A script that completes commands: `eval "$(portalkeeper completion bash)"`."""
    if shell not in SHELLS:
        raise Failure(Exit.USAGE, f"There is no completion for {shell}; name {', '.join(SHELLS)}.")
    script = get_completion_script(
        prog_name="portalkeeper", complete_var="_PORTALKEEPER_COMPLETE", shell=shell
    )
    print(script)


# -- session and state


@app.command("sign-in")
def sign_in(
    link: Annotated[str, typer.Argument(help="A one-time link, as printed at the start.")],
    as_json: AsJson = False,
) -> None:
    """Use up a one-time link and keep the session on this machine."""
    parts = urlsplit(link)
    folder, _, code = parts.path.rstrip("/").rpartition("/")
    if not parts.scheme.startswith("http") or not folder.endswith("/in") or not code:
        raise Failure(Exit.USAGE, "That is no sign-in link; one looks like http://HOST:PORT/in/…")
    gateway = urlunsplit((parts.scheme, parts.netloc, folder.removesuffix("/in"), "", ""))
    answer = ask("POST", f"{gateway}/session", who="The gateway", body={"code": code})
    path = store_session({"gateway": gateway, **answer})
    if as_json:
        print_json({**answer, "session": None, "file": str(path)})
    else:
        out.print(f"Signed in as {answer['name']} until {answer['expires_at']}.")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Whether every service is ready, and how far each is behind Kafka. Exit status 1 if not."""
    client = Client.open()
    report = [_service_status(client, service) for service in client.services]
    if as_json:
        print_json(report)
    else:
        rows = Rows("Service", "State", "Behind", "Outbox", "Problems")
        for row in report:
            rows.add_row(
                row["service"],
                row["state"],
                text(row["behind"]),
                text(row["outbox"]),
                "; ".join(row["problems"]) or "none",
            )
        out.print(rows)
    if any(row["state"] != "ready" for row in report):
        raise typer.Exit(Exit.NO)


def _service_status(client: Client, service: str) -> dict[str, Any]:
    row: dict[str, Any] = {"service": service, "behind": None, "outbox": None, "problems": []}
    try:
        answer = httpx.get(client.url(service, "/readyz"), timeout=10).json()
        row["state"] = "ready" if answer["ready"] else "not ready"
        row["problems"] = answer["problems"]
        found = client.get(service, "/ops/v1/status")
        row["outbox"] = found["outbox"]
        row["behind"] = sum(
            partition["lag"] or 0
            for consumer in found["consumers"]
            for partition in consumer["partitions"]
        )
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        row["state"] = "no answer"
    except Failure as failure:
        row["problems"] = [*row["problems"], failure.sentence]
    return row


@app.command("accept-gap")
def accept_gap(
    group: Annotated[str, typer.Argument(help="The consumer group that stopped.")],
    topic: str,
    partition: int,
    service: Annotated[str, typer.Option(help="provisioning, audit or review")] = "provisioning",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let a stopped partition go on although records of it were never read."""
    client = Client.open()
    if service not in client.services:
        raise Failure(Exit.USAGE, f"There is no service {service}; see portalkeeper status.")
    if not yes:
        typer.confirm(
            f"{group} will go on without the missing records of {topic}/{partition}. "
            "This is recorded under your name and cannot be undone. Go on?",
            abort=True,
            err=True,
        )
    answer = client.post(
        service,
        "/ops/v1/accept-gap",
        {"group": group, "topic": topic, "partition": partition},
    )
    print_answer(as_json, answer, f"{topic}/{partition} goes on at offset {answer['next_offset']}.")


# -- HR


@hr_app.command("send")
def hr_send(
    file: Annotated[Path, typer.Argument(help="A JSON array, JSON Lines, or one CloudEvent.")],
    secret_file: Annotated[
        Path | None,
        typer.Option(help="The source's webhook secret, or the gateway's sources file."),
    ] = None,
    to: Annotated[
        str | None, typer.Option(envvar="PORTALKEEPER_GATEWAY_URL", help="The gateway's address.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send HR events, signed, until each has an answer. Exit status 1 if any was rejected."""
    events = hr.read_events(file)
    if not events:
        raise Failure(Exit.USAGE, f"{file} holds no event.")
    secret = os.environ.get("PORTALKEEPER_HR_SECRET") if secret_file is None else None
    source = events[0].get("source")
    secret = secret or hr.read_secret(
        secret_file or Path(os.environ.get("PORTALKEEPER_SOURCES_FILE", SOURCES_FILE)), source
    )
    gateway = to or str(read_session()["gateway"])
    with progress_bar() as progress:
        task = progress.add_task("Sending", total=len(events))
        sent = hr.send(
            events,
            f"{gateway.rstrip('/')}/hr/v1/events",
            secret,
            lambda done: progress.update(task, completed=done),
        )
    if as_json:
        print_json({"accepted": sent.accepted, "rejected": sent.rejected, "dropped": sent.dropped})
    else:
        _print_sent(sent)
    if sent.rejected:
        raise typer.Exit(Exit.NO)


def _print_sent(sent: hr.Sent) -> None:
    out.print(f"{sent.accepted} accepted, {len(sent.rejected)} rejected.")
    for name, count in sorted(sent.dropped.items()):
        out.print(f"Not collected: {name} (in {count} events)")
    if sent.rejected:
        rows = Rows("Event", "Id", "Rule", "Why")
        for each in sent.rejected:
            rows.add_row(text(each["index"]), text(each["id"]), each["code"], each["detail"])
        out.print(rows)


if __name__ == "__main__":
    app(prog_name="portalkeeper")
