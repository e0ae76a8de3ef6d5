"""The official Python SDK, unmodified, as the user of one atSign: onboard, log in again, put, get, scan, delete.

    onboard.py DIRECTORY_HOST DIRECTORY_PORT ATSIGN CRAM_SECRET_FILE

Certificates are checked as everywhere else: SSL_CERT_FILE names the CA that the operator published. Keys go to $HOME/.atsign/keys.
Ends with the line `ok` or with the exception that the SDK raised.
"""

import sys

from at_client import AtClient
from at_client.common import AtSign
from at_client.common.keys import PublicKey, SelfKey
from at_client.connections.address import Address
from at_client.connections.atrootconnection import AtRootConnection
from at_client.connections.atsecondaryconnection import AtSecondaryConnection
from at_client.exception.atexception import AtException
from at_client.util.authutil import AuthUtil
from at_client.util.keysutil import KeysUtil
from at_client.util.onboardingutil import OnboardingUtil


def onboard(directory: Address, at_sign: AtSign, cram_secret: str) -> None:
    """What the SDK's own activation tool does: CRAM once, hand over the public keys, delete the CRAM secret."""
    root = AtRootConnection.get_instance(host=directory.host, port=directory.port)
    connection = AtSecondaryConnection(root.find_secondary(at_sign))
    connection.connect()
    AuthUtil.authenticate_with_cram(connection, at_sign, cram_secret)
    keys = {}
    OnboardingUtil.generate_pkam_keypair(keys)
    OnboardingUtil.generate_encryption_keypair(keys)
    OnboardingUtil.generate_self_encryption_key(keys)
    OnboardingUtil.store_pkam_public_key(connection, keys)
    AuthUtil.authenticate_with_pkam(connection, at_sign, keys)
    OnboardingUtil.store_public_encryption_key(connection, at_sign.without_prefix, keys)
    OnboardingUtil.delete_cram_key(connection)
    KeysUtil.save_keys(str(at_sign), keys)
    try:
        AuthUtil.authenticate_with_cram(connection, at_sign, cram_secret)
    except Exception:  # the SDK raises different classes here; that it refuses is what counts
        pass
    else:
        raise AssertionError("the CRAM secret still works after it was deleted")
    connection.disconnect()


def use(directory: Address, at_sign: AtSign) -> None:
    """Logs in with PKAM, as every later run of an application does, and uses the atSign."""
    client = AtClient(at_sign, root_address=directory)
    public = PublicKey("greeting", at_sign).set_namespace("demo")
    own = SelfKey("diary", at_sign).set_namespace("demo")

    client.put(public, "hello, world")
    client.put(own, "for my eyes only")
    assert client.get(public) == "hello, world", "the public value came back changed"
    assert client.get(own) == "for my eyes only", "the self value came back changed"

    client.put(own, "second thoughts")
    assert client.get(own) == "second thoughts", "an update was not seen"

    names = {str(key) for key in client.get_at_keys("demo", True)}
    expected = {f"public:greeting.demo{at_sign}", f"diary.demo{at_sign}"}
    assert names == expected, f"scan listed {names}, expected {expected}"

    # `get` clears the public mark of the key object that it is given, so name the key anew.
    client.delete(PublicKey("greeting", at_sign).set_namespace("demo"))
    client.delete(own)
    assert client.get_at_keys("demo", False) == [], "deleted keys are still listed"
    try:
        client.get(own)
    except AtException:
        pass
    else:
        raise AssertionError("a deleted key was still there")


def main() -> None:
    host, port, name, secret_file = sys.argv[1:]
    directory, at_sign = Address(host, int(port)), AtSign(name)
    with open(secret_file, encoding="ascii") as file:
        onboard(directory, at_sign, file.read().strip())
    use(directory, at_sign)
    use(directory, at_sign)
    print("ok")


if __name__ == "__main__":
    main()
