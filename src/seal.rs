//! Secrets at rest: sealed with one key, which is kept apart from the database.
//!
//! XChaCha20-Poly1305, whose nonces are long enough to be random for ever. What is sealed opens only in the context that
//! it was sealed for (whose key it is), so that nobody who can write the database exchanges one secret for another.

use std::fmt;
use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

/// How a sealed secret is laid out, in its first byte: then 24 bytes of nonce, then the ciphertext with its tag.
const VERSION: u8 = 1;

/// Bytes of a nonce.
const NONCE_LEN: usize = 24;

/// The file in the data directory that holds the key, as 64 hex digits, if the configuration does not.
const KEY_FILE: &str = "encryption.key";

/// Seals and opens. A handle, cheap to clone; printing it shows nothing.
#[derive(Clone)]
pub struct Sealer {
    cipher: XChaCha20Poly1305,
}

/// Why a secret was not opened: another key, another context, or bytes that are none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret cannot be decrypted: it was encrypted with another key, or was changed")]
pub struct OpenError;

/// Why there is no key to seal with.
#[derive(Debug, thiserror::Error)]
pub enum EncryptionKeyError {
    /// Its file cannot be read or made.
    #[error("the file of the encryption key, {path}, cannot be read or made")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its file holds something else.
    #[error("the file {path} must hold 32 bytes as 64 hex digits or base64")]
    Invalid {
        /// The file.
        path: PathBuf,
    },
}

/// Reads 32 bytes, as 64 hex digits or base64 of either alphabet.
pub fn parse_key(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    let mut key = [0; 32];
    if hex::decode_to_slice(text, &mut key).is_ok() {
        return Some(key);
    }
    [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD]
        .iter()
        .find_map(|engine| engine.decode(text).ok()?.try_into().ok())
}

/// Seals with the key that the data directory holds, which is made the first time, readable by its owner alone.
///
/// # Panics
/// If the operating system has no randomness to give.
pub fn load_or_make(data_dir: &Path) -> Result<Sealer, EncryptionKeyError> {
    let path = data_dir.join(KEY_FILE);
    let error = |source| EncryptionKeyError::File {
        path: path.clone(),
        source,
    };
    let text = match std::fs::read_to_string(&path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            make(data_dir, &path).map_err(error)?;
            // Another process may have been first: whose key is in the file, it is the only one.
            std::fs::read_to_string(&path).map_err(error)?
        }
        read => read.map_err(error)?,
    };
    match parse_key(&text) {
        Some(key) => Ok(Sealer::from_key(key)),
        None => Err(EncryptionKeyError::Invalid { path }),
    }
}

/// Puts a new key there, whole or not at all, unless there is one.
fn make(data_dir: &Path, path: &Path) -> io::Result<()> {
    let mut key = [0_u8; 32];
    getrandom::fill(&mut key).expect("the operating system gives random bits");
    let mut draft = tempfile::Builder::new()
        .prefix(KEY_FILE)
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(data_dir)?;
    writeln!(draft, "{}", hex::encode(key))?;
    draft.as_file().sync_all()?;
    match draft.persist_noclobber(path) {
        Ok(_) => std::fs::File::open(data_dir)?.sync_all(),
        Err(failure) if failure.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(failure) => Err(failure.error),
    }
}

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
            let bytes = sealer.seal("app_key:1", secret);
            assert_eq!(sealer.open("app_key:1", &bytes), Ok(secret.to_vec()));
            assert_eq!(sealer.open("app_key:2", &bytes), Err(OpenError));
            assert_eq!(
                Sealer::from_key([8; 32]).open("app_key:1", &bytes),
                Err(OpenError)
            );
        }
    }

    #[test]
    fn no_byte_can_be_changed_or_left_out() {
        let sealer = Sealer::for_tests();
        let bytes = sealer.seal("c", b"secret");
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert_eq!(sealer.open("c", &changed), Err(OpenError), "{place}");
            assert_eq!(sealer.open("c", &bytes[..place]), Err(OpenError));
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

    #[test]
    fn keys_are_read_in_hex_and_base64() {
        let key = [0xfb; 32];
        for text in [
            "fb".repeat(32),
            "FB".repeat(32) + "\n",
            STANDARD.encode(key),
            URL_SAFE_NO_PAD.encode(key),
        ] {
            assert_eq!(parse_key(&text), Some(key), "{text}");
        }
        for text in [
            "",
            "fb",
            &"fb".repeat(31),
            &"fb".repeat(33),
            &"g".repeat(64),
        ] {
            assert_eq!(parse_key(text), None, "{text}");
        }
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let makers: Vec<_> = (0..4)
            .map(|_| {
                let path = dir.path().to_owned();
                std::thread::spawn(move || load_or_make(&path).unwrap())
            })
            .collect();
        let sealers: Vec<_> = makers
            .into_iter()
            .map(|maker| maker.join().unwrap())
            .collect();
        let bytes = sealers[0].seal("c", b"secret");
        for sealer in &sealers {
            assert_eq!(sealer.open("c", &bytes), Ok(b"secret".to_vec()));
        }
        let file = dir.path().join(KEY_FILE);
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // Nothing is left of those that came second.
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        std::fs::write(&file, "no key").unwrap();
        assert!(matches!(
            load_or_make(dir.path()),
            Err(EncryptionKeyError::Invalid { .. })
        ));
    }
}
