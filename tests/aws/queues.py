"""Sessions' queues at SQS, read past their clients."""

from envelope import open_message


def drain(cluster, session):
    """Everything in a session's queue: the envelopes, and what is in them."""
    envelopes = [message["Body"] for message in _taken(cluster, session)]
    return envelopes, [open_message(session.description, envelope) for envelope in envelopes]


def drain_placed(cluster, session):
    """The same with its place in the order of sending: by time, and in one millisecond by the envelopes' counters."""
    return [
        (
            (int(message["Attributes"]["SentTimestamp"]), int(message["Body"].split("|")[0])),
            open_message(session.description, message["Body"]),
        )
        for message in _taken(cluster, session)
    ]


def _taken(cluster, session):
    url, taken = session["sqsUrl"], []
    ask = {"QueueUrl": url, "MaxNumberOfMessages": 10, "MessageSystemAttributeNames": ["SentTimestamp"]}
    while messages := cluster.sqs.receive_message(**ask).get("Messages"):
        taken += messages
        entries = [{"Id": str(at), "ReceiptHandle": one["ReceiptHandle"]} for at, one in enumerate(messages)]
        deleted = cluster.sqs.delete_message_batch(QueueUrl=url, Entries=entries)
        assert not deleted.get("Failed"), deleted
    return taken
