//! Key: verifies signatures.
//!
//! In:  a secret, a PEM, or a JSON Web Key; an algorithm, a message and its signature.
//! Out: whether the signature matches the message.
//!
//! `jsonwebtoken` parses keys, `ring` verifies. A key only serves the algorithms of its own family, so a public key is
//! never used as a secret. HMAC signatures are compared in constant time (`ring::hmac::verify`).

use std::str::FromStr;

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use ring::{
    hmac,
    signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm},
};

/// RFC 7518 §3.3: an RSA key has at least 2,048 bits.
const RSA_MODULUS_BYTES_MIN: usize = 256;

/// The longest RSA modulus that `ring` supports.
const RSA_MODULUS_BYTES_MAX: usize = 1024;

/// Maximum overhead around the modulus of a DER key (RFC 8017 A.1.1): lengths, and an exponent of 33 bits.
const RSA_DER_BYTES_MAX: usize = 24;

/// RFC 8032 §5.1.5.
const ED25519_KEY_BYTES: usize = 32;

/// A secret, prepared for each supported hash.
#[derive(Debug, Clone)]
pub(crate) struct HmacKeys {
    hs256: hmac::Key,
    hs384: hmac::Key,
    hs512: hmac::Key,
}

impl HmacKeys {
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self {
            hs256: hmac::Key::new(hmac::HMAC_SHA256, secret),
            hs384: hmac::Key::new(hmac::HMAC_SHA384, secret),
            hs512: hmac::Key::new(hmac::HMAC_SHA512, secret),
        }
    }

    /// Also false for an algorithm other than HMAC.
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let key = match algorithm {
            Algorithm::HS256 => &self.hs256,
            Algorithm::HS384 => &self.hs384,
            Algorithm::HS512 => &self.hs512,
            _ => return false,
        };
        hmac::verify(key, message, signature).is_ok()
    }
}

/// A public key, with its one algorithm if it names one.
#[derive(Debug, Clone)]
pub(crate) struct PublicKey {
    key: DecodingKey,
    only: Option<Algorithm>,
}

impl PublicKey {
    /// True exactly when it may verify signatures of this algorithm.
    pub(crate) fn serves(&self, algorithm: Algorithm) -> bool {
        self.key.family() == algorithm.family() && self.only.is_none_or(|only| only == algorithm)
    }

    /// Also false for an algorithm that it does not serve.
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.serves(algorithm) {
            return false;
        }
        match self.key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => rsa_parameters(algorithm)
                .is_some_and(|rsa| RsaPublicKeyComponents { n, e }.verify(rsa, message, signature).is_ok()),
            DecodingKeyKind::SecretOrDer(bytes) => verification(algorithm)
                .is_some_and(|how| UnparsedPublicKey::new(how, bytes).verify(message, signature).is_ok()),
        }
    }

    /// Parses a key of a JWKS document. An `oct` key is a secret, which must not be published: it is refused.
    pub(crate) fn from_jwk(jwk: &Jwk) -> Result<Self, &'static str> {
        if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
            return Err("it is not for signatures (use)");
        }
        if jwk.common.key_operations.as_ref().is_some_and(|all| !all.contains(&KeyOperations::Verify)) {
            return Err("it is not for verifying (key_ops)");
        }
        let only = match jwk.common.key_algorithm.map(Algorithm::try_from) {
            Some(Err(_)) => return Err("its algorithm (alg) is not supported"),
            Some(Ok(algorithm)) => Some(algorithm),
            None => None,
        };
        let key = match &jwk.algorithm {
            AlgorithmParameters::EllipticCurve(key)
                if !matches!(key.curve, EllipticCurve::P256 | EllipticCurve::P384) =>
            {
                return Err("its curve is neither P-256 nor P-384");
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve != EllipticCurve::Ed25519 => {
                return Err("its curve is not Ed25519");
            }
            AlgorithmParameters::OctetKey(_) | AlgorithmParameters::Other(_) => {
                return Err("its type (kty) is not RSA, EC or OKP");
            }
            _ => DecodingKey::from_jwk(jwk).map_err(|_| "its parameters are not base64url")?,
        };
        let key = Self::sound(key)?;
        match only {
            Some(only) if only.family() != key.key.family() => {
                Err("its algorithm (alg) does not match its type")
            }
            _ => Ok(Self { only, ..key }),
        }
    }

    fn from_rsa_pem(pem: &str) -> Result<Self, &'static str> {
        refuse_private(pem)?;
        let key = DecodingKey::from_rsa_pem(pem.as_bytes())
            .map_err(|_| "not an RSA public key in PEM (-----BEGIN PUBLIC KEY-----)")?;
        Self::sound(key)
    }

    fn from_ecdsa_pem(pem: &str) -> Result<Self, &'static str> {
        refuse_private(pem)?;
        let key = DecodingKey::from_ec_pem(pem.as_bytes())
            .map_err(|_| "not an ECDSA public key in PEM (-----BEGIN PUBLIC KEY-----)")?;
        Self::sound(key)
    }

    /// Refuses keys that no signature can match, so that the log does not blame the token.
    fn sound(key: DecodingKey) -> Result<Self, &'static str> {
        let key = match (key.family(), key.kind()) {
            // RFC 7518 §6.3.1.1 forbids leading zeros; some issuers send one, and ring refuses them.
            (_, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                DecodingKey::from_rsa_raw_components(without_zeros(n), without_zeros(e))
            }
            _ => key,
        };
        let fault = match (key.family(), key.kind()) {
            (AlgorithmFamily::Hmac, _) => Some("it is a secret"),
            (_, DecodingKeyKind::RsaModulusExponent { n: bytes, .. })
            | (AlgorithmFamily::Rsa, DecodingKeyKind::SecretOrDer(bytes)) => {
                let lengths = RSA_MODULUS_BYTES_MIN..=RSA_MODULUS_BYTES_MAX + RSA_DER_BYTES_MAX;
                (!lengths.contains(&bytes.len())).then_some("an RSA key has 2048 to 8192 bits")
            }
            // SEC 1 §2.3.3: 4, then both coordinates.
            (AlgorithmFamily::Ec, DecodingKeyKind::SecretOrDer(point)) => {
                (!matches!(point.len(), 65 | 97)).then_some("its curve is neither P-256 nor P-384")
            }
            (AlgorithmFamily::Ed, DecodingKeyKind::SecretOrDer(point)) => {
                (point.len() != ED25519_KEY_BYTES).then_some("an Ed25519 key has 32 bytes")
            }
        };
        fault.map_or(Ok(Self { key, only: None }), Err)
    }
}

/// An RSA public key of the configuration; compared by its text.
#[derive(Debug, Clone)]
pub(crate) struct RsaKey {
    pem: String,
    pub(crate) key: PublicKey,
}

impl FromStr for RsaKey {
    type Err = &'static str;

    fn from_str(pem: &str) -> Result<Self, Self::Err> {
        Ok(Self { pem: pem.to_owned(), key: PublicKey::from_rsa_pem(pem)? })
    }
}

impl PartialEq for RsaKey {
    fn eq(&self, other: &Self) -> bool {
        self.pem == other.pem
    }
}

/// An ECDSA public key of the configuration; compared by its text.
#[derive(Debug, Clone)]
pub(crate) struct EcdsaKey {
    pem: String,
    pub(crate) key: PublicKey,
}

impl FromStr for EcdsaKey {
    type Err = &'static str;

    fn from_str(pem: &str) -> Result<Self, Self::Err> {
        Ok(Self { pem: pem.to_owned(), key: PublicKey::from_ecdsa_pem(pem)? })
    }
}

impl PartialEq for EcdsaKey {
    fn eq(&self, other: &Self) -> bool {
        self.pem == other.pem
    }
}

fn refuse_private(pem: &str) -> Result<(), &'static str> {
    if pem.contains("PRIVATE KEY") {
        return Err(
            "this is a private key, which only the issuer of tokens should have; give the public key",
        );
    }
    Ok(())
}

fn without_zeros(number: &[u8]) -> &[u8] {
    &number[number.iter().take_while(|&&byte| byte == 0).count()..]
}

fn verification(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    match algorithm {
        Algorithm::ES256 => Some(&signature::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Some(&signature::ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Some(&signature::ED25519),
        _ => rsa_parameters(algorithm).map(|rsa| rsa as &dyn VerificationAlgorithm),
    }
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}
