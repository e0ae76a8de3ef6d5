//! Signatures and keys of clients: none of them proves anything by being odd.
#![no_main]

use atsign_protocol::verb::{HashingAlgorithm, SigningAlgorithm};
use atsign_secondary::signatures::{Scheme, proves};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (public_key, signature) = input;
    for signing in [SigningAlgorithm::Rsa2048, SigningAlgorithm::EccSecp256r1, SigningAlgorithm::MlDsa65] {
        for hashing in [HashingAlgorithm::Sha256, HashingAlgorithm::Sha512] {
            assert!(!proves(Scheme { signing, hashing }, public_key, "what nobody signed", signature));
        }
    }
});
