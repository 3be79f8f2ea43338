//! `X-Downbeat-Signature`: proof that a body is whole and fresh, from relays that can sign.
//!
//! `t=<seconds since 1970>,v1=<hex of HMAC-SHA256(key, "<t>.<body>")>`, where the key is the API key that the request
//! carries: the service stores none of it but a hash, so nothing else is known to both. A signature holds for five minutes
//! around its time and for one request. A header may carry several `v1`, so that a relay can change over; other fields
//! are left alone.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use downbeat_core::time::Timestamp;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The header.
const HEADER: &str = "x-downbeat-signature";

/// How far its time may be from ours.
const WINDOW: Duration = Duration::from_mins(5);

/// Signatures of one header that are looked at.
const SIGNATURES_MAX: usize = 4;

/// Signatures that are remembered, against their being used again; beyond them the oldest are forgotten, which were to be
/// forgotten first anyway. At ten minutes each that is 300 events a second.
const REMEMBERED_MAX: usize = 200_000;

type Code = [u8; 32];

/// Why a signature is refused, in words for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) struct BadSignature(pub(in crate::http) &'static str);

/// The signatures that were used lately.
#[derive(Debug, Default)]
pub(in crate::http) struct Signatures {
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    codes: HashSet<Code>,
    /// The same in the order of their use, with the time from which on they are too old anyway.
    order: VecDeque<(Timestamp, Code)>,
}

/// A signature that holds. It may be used again unless its request was accepted.
#[derive(Debug)]
pub(in crate::http) struct Signed<'a> {
    signatures: &'a Signatures,
    code: Code,
    is_accepted: bool,
}

impl Signed<'_> {
    /// The request was carried out: the signature is used up.
    pub(in crate::http) fn accept(mut self) {
        self.is_accepted = true;
    }
}

impl Drop for Signed<'_> {
    fn drop(&mut self) {
        if !self.is_accepted {
            self.signatures.used().codes.remove(&self.code);
        }
    }
}

impl Signatures {
    /// Checks the signature of a request, if it has one.
    pub(in crate::http) fn check(
        &self,
        headers: &HeaderMap,
        key: Option<&str>,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Option<Signed<'_>>, BadSignature> {
        let mut values = headers.get_all(HEADER).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(BadSignature(
                "The header X-Downbeat-Signature is there twice.",
            ));
        }
        let key = key.ok_or(BadSignature(
            "A signature needs the API key in the header Authorization.",
        ))?;
        let header = value.to_str().ok().and_then(Header::parse);
        let header = header.ok_or(BadSignature(
            "X-Downbeat-Signature must be t=<seconds>,v1=<64 hex digits>.",
        ))?;
        let signed_at = Timestamp::from_millis(header.seconds.saturating_mul(1_000));
        let distance = now.since(signed_at).max(signed_at.since(now));
        if distance > WINDOW {
            return Err(BadSignature(
                "Its time is more than five minutes away from this service's.",
            ));
        }
        let code = header.verify(key, body).ok_or(BadSignature(
            "It is not the signature of this time and body with this key.",
        ))?;
        self.note(code, now)?;
        Ok(Some(Signed {
            signatures: self,
            code,
            is_accepted: false,
        }))
    }

    /// Remembers a signature; refuses one that was used.
    fn note(&self, code: Code, now: Timestamp) -> Result<(), BadSignature> {
        let mut used = self.used();
        while let Some((until, oldest)) = used.order.front().copied()
            && (until < now || used.order.len() >= REMEMBERED_MAX)
        {
            used.order.pop_front();
            used.codes.remove(&oldest);
        }
        if !used.codes.insert(code) {
            return Err(BadSignature("It was used before."));
        }
        used.order.push_back((now + WINDOW * 2, code));
        Ok(())
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the header says.
struct Header<'a> {
    /// As it is written, because that was signed.
    time: &'a str,
    seconds: i64,
    codes: Vec<Code>,
}

impl<'a> Header<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (mut time, mut codes) = (None, Vec::new());
        for field in text.split(',') {
            let (name, value) = field.trim().split_once('=')?;
            match name {
                "t" if time.is_none() => time = Some(value),
                "t" => return None,
                "v1" if codes.len() < SIGNATURES_MAX => {
                    let mut code = Code::default();
                    hex::decode_to_slice(value, &mut code).ok()?;
                    codes.push(code);
                }
                _ => {}
            }
        }
        let time = time?;
        let is_plain = !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = time.parse().ok().filter(|_| is_plain)?;
        (!codes.is_empty()).then_some(Self {
            time,
            seconds,
            codes,
        })
    }

    /// The code that is right, if one is. Compared in constant time.
    fn verify(&self, key: &str, body: &[u8]) -> Option<Code> {
        let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes());
        let mut mac = mac.expect("HMAC takes keys of any length");
        mac.update(self.time.as_bytes());
        mac.update(b".");
        mac.update(body);
        let mut codes = self.codes.iter();
        codes
            .find(|code| mac.clone().verify_slice(&code[..]).is_ok())
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "key";
    const BODY: &[u8] = b"{\"a\":1}";

    /// `printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key`
    const GOOD: &str = "a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03";

    fn headers(values: &[String]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, value.parse().unwrap());
        }
        headers
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn check(signatures: &Signatures, value: &str, now: i64) -> Result<bool, &'static str> {
        let headers = headers(&[value.to_owned()]);
        let signed = signatures.check(&headers, Some(KEY), BODY, at(now));
        match signed {
            Ok(Some(signed)) => {
                signed.accept();
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(BadSignature(why)) => Err(why),
        }
    }

    #[test]
    fn a_signature_holds_for_its_time_and_once() {
        let signatures = Signatures::default();
        let value = format!("t=1700000000,v1={},v1={GOOD},v0=x", "00".repeat(32));
        let far = "Its time is more than five minutes away from this service's.";
        assert_eq!(check(&signatures, &value, 1_700_000_301), Err(far));
        assert_eq!(check(&signatures, &value, 1_699_999_699), Err(far));
        assert_eq!(check(&signatures, &value, 1_700_000_299), Ok(true));
        assert_eq!(
            check(&signatures, &value, 1_700_000_300),
            Err("It was used before.")
        );
        assert!(
            signatures
                .check(&HeaderMap::new(), None, BODY, at(0))
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn one_whose_request_was_not_accepted_may_be_used_again() {
        let signatures = Signatures::default();
        let headers = headers(&[format!("t=1700000000,v1={GOOD}")]);
        for _ in 0..2 {
            let signed = signatures.check(&headers, Some(KEY), BODY, at(1_700_000_000));
            let signed = signed.unwrap().unwrap();
            let again = signatures.check(&headers, Some(KEY), BODY, at(1_700_000_000));
            assert_eq!(again.unwrap_err(), BadSignature("It was used before."));
            drop(signed);
        }
    }

    #[test]
    fn what_is_no_signature_is_refused() {
        let signatures = Signatures::default();
        for value in [
            String::new(),
            "t=1700000000".to_owned(),
            format!("v1={GOOD}"),
            format!("t=,v1={GOOD}"),
            format!("t=+1700000000,v1={GOOD}"),
            format!("t=1700000000,t=1700000000,v1={GOOD}"),
            format!("t=99999999999999999999,v1={GOOD}"),
            format!("t=1700000000,v1={}", &GOOD[1..]),
            "t=1700000000,v1=x".to_owned(),
            format!("t=1700000001,v1={GOOD}"),
            format!("t=1700000000,v1={}", "00".repeat(32)),
        ] {
            assert!(
                check(&signatures, &value, 1_700_000_000).is_err(),
                "{value:?}"
            );
        }
        let good = format!("t=1700000000,v1={GOOD}");
        let twice = headers(&[good.clone(), good.clone()]);
        assert!(
            signatures
                .check(&twice, Some(KEY), BODY, at(1_700_000_000))
                .is_err()
        );
        let once = headers(&[good]);
        assert!(
            signatures
                .check(&once, None, BODY, at(1_700_000_000))
                .is_err()
        );
        assert!(
            signatures
                .check(&once, Some("other"), BODY, at(1_700_000_000))
                .is_err()
        );
        assert!(
            signatures
                .check(&once, Some(KEY), b"{\"a\":2}", at(1_700_000_000))
                .is_err()
        );
    }

    #[test]
    fn memory_has_its_bounds() {
        let signatures = Signatures::default();
        let code = |number: u64| {
            let mut code = Code::default();
            code[..8].copy_from_slice(&number.to_be_bytes());
            code
        };
        for number in 0..REMEMBERED_MAX as u64 + 10 {
            signatures.note(code(number), at(0)).unwrap();
        }
        assert_eq!(signatures.used().codes.len(), REMEMBERED_MAX);
        signatures.note(code(0), at(601)).unwrap();
        assert_eq!(signatures.used().codes.len(), 1);
    }
}
