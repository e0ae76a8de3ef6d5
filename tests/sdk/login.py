"""The official Python SDK, unmodified, with keys files that are there: atSigns log in and are used.

    login.py DIRECTORY_HOST DIRECTORY_PORT [ATSIGN ...]

Where no atSign is named, they are those of `cargo xtask local`: @alice and @bob.

SSL_CERT_FILE names the local CA, $HOME/.atsign/keys has the keys files. Run again, it finds what it wrote.
Ends with the line `ok` or with the exception that the SDK raised.
"""

import sys

from at_client import AtClient
from at_client.common import AtSign
from at_client.common.keys import SelfKey
from at_client.connections.address import Address
from at_client.exception.atexception import AtException


def main() -> None:
    host, port, *names = sys.argv[1:]
    for name in names or ("@alice", "@bob"):
        at_sign = AtSign(name)
        client = AtClient(at_sign, root_address=Address(host, int(port)))
        try:
            visits = int(client.get(SelfKey("visits", at_sign).set_namespace("demo")))
        except AtException:
            visits = 0
        client.put(SelfKey("visits", at_sign).set_namespace("demo"), str(visits + 1))
        print(f"{name} has been here {visits + 1} times")
    print("ok")


if __name__ == "__main__":
    main()
