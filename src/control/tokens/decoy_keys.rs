//! Keys without an owner. If an app or a key does not exist, one of them verifies the signature, so that the time taken
//! does not show it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::client_assertion::UnverifiedAssertion;
use crate::domain::ids::KeyId;
use crate::domain::key::{Algorithm, InvalidPublicKey, PublicKey, VerifyingKey};

/// The modulus of the RSA key in RFC 7515 appendix A.2.1. Its private half is public, which does no harm: nothing that
/// it verifies is accepted.
const RSA_MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";

/// The generator of P-256 (SEC 2 section 2.4.2), as `x` and `y`.
const P256: [&str; 2] = [
    "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
    "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
];

/// The generator of Ed25519 (RFC 8032 section 5.1).
const ED25519: &str = "WGZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY";

/// One key for each algorithm. A request for an app or key that does not exist verifies with it, so that the time taken
/// does not tell who exists.
pub struct DecoyKeys(Vec<VerifyingKey>);

impl DecoyKeys {
    /// The keys.
    ///
    /// # Errors
    /// [`InvalidPublicKey`] where the signature library rejects one of the constants.
    pub fn new() -> Result<Self, InvalidPublicKey> {
        let keys = Algorithm::ALL.into_iter().map(|algorithm| {
            let id = KeyId::parse("decoy").map_err(|_| InvalidPublicKey::Numbers)?;
            VerifyingKey::new(id, public(algorithm)?, algorithm)
        });
        Ok(Self(keys.collect::<Result<_, _>>()?))
    }

    /// Verifies the assertion's signature `times` times, and forgets the result.
    pub fn verify_in_vain(&self, assertion: &UnverifiedAssertion<'_>, times: usize) {
        let key = self.0.iter().find(|key| key.algorithm() == assertion.algorithm());
        for key in key.into_iter().cycle().take(times) {
            std::hint::black_box(assertion.is_signed_by(key));
        }
    }
}

fn public(algorithm: Algorithm) -> Result<PublicKey, InvalidPublicKey> {
    let decode = |text: &str| {
        URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| InvalidPublicKey::Numbers)
    };
    match algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 => PublicKey::from_rsa(&decode(RSA_MODULUS)?, &[1, 0, 1]),
        Algorithm::Es256 => {
            let [x, y] = P256;
            PublicKey::from_p256(&decode(x)?, &decode(y)?)
        }
        Algorithm::EdDsa => PublicKey::from_ed25519(&decode(ED25519)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_has_a_decoy_key() {
        let keys = DecoyKeys::new().unwrap().0;
        let algorithms: Vec<_> = keys.iter().map(VerifyingKey::algorithm).collect();
        assert_eq!(algorithms, Algorithm::ALL);
    }
}
