"""Training that functions wait for: who has it, until when, and who still needs it."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from services.provisioning.rules.desired.directory import CompiledDirectory
from services.provisioning.rules.desired.rights import Right
from services.provisioning.rules.timeline import Folded
from shared.contracts.directory import (
    TrainingModule,
)
from shared.contracts.hr import end_of_day, start_of_day
from shared.contracts.state import (
    TrainingDue,
)


def training_due(
    worker: Folded,
    compiled: CompiledDirectory,
    wanted: Iterable[Right],
    hired: datetime,
    as_of: datetime,
) -> tuple[TrainingDue, ...]:
    """Modules without a valid sign-off that something this worker needs waits for."""
    missing: dict[str, TrainingDue] = {}
    for portal, _, function in wanted:
        for module in compiled.modules_for(portal, function):
            if module.id not in missing and not is_trained(worker, module, hired, compiled, as_of):
                due = hired + timedelta(days=TRAINING_DAYS)
                missing[module.id] = TrainingDue(module.id, due)
    return tuple(missing[name] for name in sorted(missing))


TRAINING_DAYS = 14
"""From the first day of work to when a joiner's training is late: this product's default."""


def is_trained(
    worker: Folded,
    module: TrainingModule,
    hired: datetime,
    compiled: CompiledDirectory,
    as_of: datetime,
) -> bool:
    """Whether a module counts as done: signed off and not expired, or grandfathered to a date."""
    for sign_off in worker.training:
        if sign_off.module == module.id:
            if not sign_off.valid:
                return False
            if module.valid_days is None or sign_off.completed_on is None:
                return True
            last_day = sign_off.completed_on + timedelta(days=module.valid_days)
            return as_of < end_of_day(last_day, compiled.zone)
    if module.grandfathers_hired_before is None or module.grandfathered_until is None:
        return False
    return hired < start_of_day(
        module.grandfathers_hired_before, compiled.zone
    ) and as_of < end_of_day(module.grandfathered_until, compiled.zone)


def expiries(
    worker: Folded, compiled: CompiledDirectory, as_of: datetime
) -> Iterable[datetime | None]:
    """When sign-offs stop counting because a module is valid for a number of days."""
    completed = {sign_off.module: sign_off.completed_on for sign_off in worker.training}
    for module in compiled.directory.training_modules:
        done = completed.get(module.id)
        if done is not None and module.valid_days is not None:
            over = end_of_day(done + timedelta(days=module.valid_days), compiled.zone)
            if over > as_of:
                yield over
