"""The batch consumer of every service: each record takes effect exactly once, or is kept whole.

The offset a service has applied is stored in the transaction that applied it; that row, not Kafka's
commit, is the truth. Records below it are skipped, a hole that the log cannot explain stops the
partition, and a log that is not the one we read before is refused loudly. FastStream delivers the
raw records; what it would decide by itself (acknowledging, decoding, seeking) is decided here.

`consumer` holds assignment, queues and refusals; `applying` the transaction; `offsets` its rows;
`dead_letters` what becomes of bad records; `reading` what FastStream and aiokafka are told.
"""

from shared.kafka.consumer import BATCH_MAX_RECORDS, BatchConsumer
from shared.kafka.records import Batch, Gap, Handler, Item, Record, record_digest

__all__ = [
    "BATCH_MAX_RECORDS",
    "Batch",
    "BatchConsumer",
    "Gap",
    "Handler",
    "Item",
    "Record",
    "record_digest",
]
