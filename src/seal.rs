//! Secrets at rest: sealed with one key, which is kept apart from the database.
//!
//! XChaCha20-Poly1305, whose nonces are long enough to be random for ever. What is sealed opens only in the context that
//! it was sealed for (whose key it is), so that nobody who can write the database exchanges one secret for another.

use std::fmt;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

/// How a sealed secret is laid out, in its first byte: then 24 bytes of nonce, then the ciphertext with its tag.
const VERSION: u8 = 1;

/// Bytes of a nonce.
const NONCE_LEN: usize = 24;

/// Seals and opens. A handle, cheap to clone; printing it shows nothing.
#[derive(Clone)]
pub struct Sealer {
    cipher: XChaCha20Poly1305,
}

/// Why a secret was not opened: another key, another context, or bytes that are none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret cannot be decrypted: it was encrypted with another key, or was changed")]
pub struct OpenError;

impl Sealer {
    /// Seals with that key.
    pub fn from_key(key: [u8; 32]) -> Self {
        Self {
            cipher: XChaCha20Poly1305::new(&key.into()),
        }
    }

    /// One for tests, the same every time.
    #[cfg(test)]
    pub fn for_tests() -> Self {
        Self::from_key([7; 32])
    }

    /// Seals a secret for a context, such as `app_key:<device id>`.
    ///
    /// # Panics
    /// If the operating system has no randomness to give, or the secret has 256 GiB.
    pub fn seal(&self, context: &str, secret: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).expect("the operating system gives random bits");
        let ciphertext = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload(context, secret))
            .expect("a secret is far smaller than the cipher's bound");
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + ciphertext.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        sealed
    }

    /// Opens what [`Sealer::seal`] made with the same key for the same context.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (version, rest) = sealed.split_first().ok_or(OpenError)?;
        if *version != VERSION {
            return Err(OpenError);
        }
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LEN>().ok_or(OpenError)?;
        self.cipher
            .decrypt(&XNonce::from(*nonce), payload(context, ciphertext))
            .map_err(|_| OpenError)
    }
}

fn payload<'a>(context: &'a str, message: &'a [u8]) -> Payload<'a, 'a> {
    Payload {
        msg: message,
        aad: context.as_bytes(),
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_with_its_key_in_its_context() {
        let sealer = Sealer::for_tests();
        for secret in [&b""[..], b"a", &[0xff; 1_000]] {
            let sealed = sealer.seal("app_key:1", secret);
            assert_eq!(sealer.open("app_key:1", &sealed), Ok(secret.to_vec()));
            assert_eq!(sealer.open("app_key:2", &sealed), Err(OpenError));
            assert_eq!(
                Sealer::from_key([8; 32]).open("app_key:1", &sealed),
                Err(OpenError)
            );
        }
    }

    #[test]
    fn no_byte_can_be_changed_or_left_out() {
        let sealer = Sealer::for_tests();
        let sealed = sealer.seal("c", b"secret");
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert_eq!(sealer.open("c", &changed), Err(OpenError), "{place}");
            assert_eq!(sealer.open("c", &sealed[..place]), Err(OpenError));
        }
    }

    #[test]
    fn the_same_secret_never_looks_the_same() {
        let sealer = Sealer::for_tests();
        let (one, two) = (sealer.seal("c", b"secret"), sealer.seal("c", b"secret"));
        assert_ne!(one, two);
        assert!(!one.windows(6).any(|window| window == b"secret"));
        assert_eq!(format!("{sealer:?}"), "Sealer(***)");
    }
}
