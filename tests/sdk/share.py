"""The official Python SDK, unmodified, as two people: one shares a value and notifies, the other gets it and monitors.

    share.py DIRECTORY_HOST DIRECTORY_PORT ATSIGN CRAM_SECRET_FILE ATSIGN CRAM_SECRET_FILE

Each has a server of their own, which talk to each other. Certificates are checked everywhere. Ends with the line `ok`.
"""

import queue
import sys
import threading
import time

from at_client import AtClient
from at_client.common import AtSign
from at_client.common.keys import SharedKey
from at_client.connections.address import Address
from at_client.connections.notification.atevents import AtEventType

from onboard import onboard

PATIENCE = 60


def monitored(events: queue.Queue, client: AtClient, kind: AtEventType, key: str):
    """Waits for an event about a key, and lets the SDK handle what comes meanwhile, as its applications do."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            event = events.get(timeout=1)
        except queue.Empty:
            continue
        if event.event_type == kind and event.event_data["key"] == key:
            return event.event_data
        client.handle_event(events, event)
    raise AssertionError(f"nothing was heard of {key} within {PATIENCE} s")


def main() -> None:
    host, port, first, first_secret, second, second_secret = sys.argv[1:]
    directory = Address(host, int(port))
    alice, bob = AtSign(first), AtSign(second)
    for at_sign, secret_file in ((alice, first_secret), (bob, second_secret)):
        with open(secret_file, encoding="ascii") as file:
            onboard(directory, at_sign, file.read().strip())

    sender = AtClient(alice, root_address=directory)
    events = queue.Queue()
    receiver = AtClient(bob, root_address=directory, queue=events)
    threading.Thread(target=receiver.start_monitor, daemon=True).start()

    shared = SharedKey("phone", alice, bob).set_namespace("demo")
    sender.put(shared, "+1 555 0100")
    got = receiver.get(SharedKey("phone", alice, bob).set_namespace("demo"))
    assert got == "+1 555 0100", f"the other side got {got!r}"

    told = SharedKey("ping", alice, bob).set_namespace("demo")
    sender.notify(told, "are you there?")
    heard = monitored(events, receiver, AtEventType.DECRYPTED_UPDATE_NOTIFICATION, f"{bob}:ping.demo{alice}")
    assert heard["decryptedValue"] == "are you there?", f"the other side heard {heard['decryptedValue']!r}"
    receiver.stop_monitor()
    print("ok")


if __name__ == "__main__":
    main()
