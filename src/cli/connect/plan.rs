//! What an application's HTTP integration is to be, beside what others have put there.
//!
//! ChirpStack sends one set of headers to all URLs, so a key in a header goes to everybody's. A name and password in a
//! URL go to that URL alone, as an `Authorization: Basic` header; but a header of that name replaces them.

use std::fmt::Write as _;
use std::str::FromStr;

use axum::http::Uri;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use secrecy::{ExposeSecret as _, SecretString};

use crate::chirpstack::HttpIntegration;
use crate::webhook::Encoding;

/// Where events are taken, when a URL names only a host.
const EVENTS_PATH: &str = "/api/v1/webhooks/chirpstack";

/// The name that goes with a key in a URL.
const USER: &str = "downbeat";

/// Where the key is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum KeyPlace {
    /// In the header, unless events go to other URLs as well.
    Auto,
    /// In an Authorization header, which ChirpStack sends to every URL of the application.
    Header,
    /// In our URL, as its password. ChirpStack writes URLs into its log.
    Url,
}

/// Why a key cannot be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Collision {
    #[error(
        "the integration has an Authorization header that is not ours. ChirpStack sends it to every URL, in place of a \
         key in ours, so that our key cannot arrive. Take that header out in ChirpStack (a credential for one URL can \
         stand in it: https://name:password@host/…) and connect again"
    )]
    OthersAuthorization,
}

/// Our URL: absolute, with neither name nor password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct WebhookUrl(String);

impl WebhookUrl {
    pub(in crate::cli) fn as_str(&self) -> &str {
        &self.0
    }

    /// The same with a password.
    fn with_key(&self, key: &str) -> String {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("http", &self.0));
        format!("{scheme}://{USER}:{}@{rest}", percent_encoded(key))
    }
}

impl FromStr for WebhookUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = Endpoint::read(text)
            .filter(|_| !text.contains(','))
            .ok_or("must be http://host[:port][/path] or https://…, without a comma")?;
        if url.password.is_some() {
            return Err("must have neither name nor password: the key is added".to_owned());
        }
        let bare = url.without_key.strip_suffix('/');
        Ok(Self(
            match bare.filter(|bare| bare.matches('/').count() == 2) {
                Some(bare) => format!("{bare}{EVENTS_PATH}"),
                None => url.without_key,
            },
        ))
    }
}

/// One URL of an integration, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Endpoint {
    /// The URL in its usual form, without name and password.
    pub(in crate::cli) without_key: String,
    /// Its path.
    pub(in crate::cli) path: String,
    /// The password in it.
    password: Option<String>,
}

impl Endpoint {
    /// Reads one URL; `None` for a text that is none.
    pub(in crate::cli) fn read(text: &str) -> Option<Self> {
        let uri: Uri = text.trim().parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let default_port = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let host = uri.host().filter(|host| !host.is_empty())?;
        let mut without_key = format!("{scheme}://{}", host.to_ascii_lowercase());
        if let Some(port) = uri.port_u16().filter(|port| *port != default_port) {
            write!(without_key, ":{port}").ok()?;
        }
        without_key.push_str(uri.path_and_query().map_or("/", |path| path.as_str()));
        let user_info = uri.authority()?.as_str().rsplit_once('@');
        let password = user_info
            .and_then(|(user_info, _)| user_info.split_once(':'))
            .map(|(_, password)| percent_decoded(password));
        Some(Self {
            without_key,
            path: uri.path().to_owned(),
            password,
        })
    }

    /// The key that arrives with a post to this URL.
    pub(in crate::cli) fn arriving_key(
        &self,
        integration: &HttpIntegration,
    ) -> Option<SecretString> {
        match authorization(integration) {
            Some(header) => key_of_header(header),
            None => self.password.clone(),
        }
        .map(SecretString::from)
    }
}

/// The URLs of an integration, as they are written.
pub(in crate::cli) fn endpoints(integration: &HttpIntegration) -> impl Iterator<Item = &str> {
    let urls = integration.endpoints.split(',').map(str::trim);
    urls.filter(|url| !url.is_empty())
}

/// The key of an Authorization header, ours or not.
pub(super) fn header_key(integration: &HttpIntegration) -> Option<SecretString> {
    authorization(integration)
        .and_then(key_of_header)
        .map(SecretString::from)
}

fn authorization(integration: &HttpIntegration) -> Option<&str> {
    let mut headers = integration.headers.iter();
    headers
        .find(|(name, _)| name.eq_ignore_ascii_case("authorization"))
        .map(|(_, value)| value.as_str())
}

fn key_of_header(header: &str) -> Option<String> {
    let (scheme, rest) = header.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    let pair = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    Some(pair.split_once(':')?.1.to_owned())
}

fn is_ours(url: &str, ours: &WebhookUrl) -> bool {
    Endpoint::read(url).is_some_and(|endpoint| endpoint.without_key == ours.0)
}

/// Our URL in an integration.
pub(super) fn our_endpoint(integration: &HttpIntegration, ours: &WebhookUrl) -> Option<Endpoint> {
    endpoints(integration)
        .filter_map(Endpoint::read)
        .find(|endpoint| endpoint.without_key == ours.0)
}

/// The integration with our URL and key; whatever others have put there stays as it is, in its place.
///
/// `header_is_ours` tells that the Authorization header, if there is one, holds a key of ours.
pub(super) fn connected(
    now: Option<&HttpIntegration>,
    ours: &WebhookUrl,
    key: &SecretString,
    place: KeyPlace,
    header_is_ours: bool,
) -> Result<HttpIntegration, Collision> {
    let mut then = now.cloned().unwrap_or_else(|| HttpIntegration {
        endpoints: String::new(),
        headers: std::collections::BTreeMap::new(),
        encoding: Encoding::Json,
    });
    let mut urls: Vec<String> = endpoints(&then).map(ToOwned::to_owned).collect();
    let are_others = urls.iter().any(|url| !is_ours(url, ours));
    if are_others && !header_is_ours && authorization(&then).is_some() {
        return Err(Collision::OthersAuthorization);
    }
    then.headers
        .retain(|name, _| !name.eq_ignore_ascii_case("authorization"));
    let in_header = match place {
        KeyPlace::Auto => !are_others,
        KeyPlace::Header => true,
        KeyPlace::Url => false,
    };
    let url = if in_header {
        let header = format!("Bearer {}", key.expose_secret());
        then.headers.insert("Authorization".to_owned(), header);
        ours.0.clone()
    } else {
        ours.with_key(key.expose_secret())
    };
    match urls.iter().position(|other| is_ours(other, ours)) {
        Some(place) => {
            let rest = urls.split_off(place + 1);
            urls[place] = url;
            urls.extend(rest.into_iter().filter(|other| !is_ours(other, ours)));
        }
        None => urls.push(url),
    }
    then.endpoints = urls.join(",");
    Ok(then)
}

/// A URL for people: without the password in it.
pub(super) fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://***@{host}{path}"),
        None => url.to_owned(),
    }
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "https://lights.example/api/v1/webhooks/chirpstack";
    const OTHER: &str = "https://Other.example:8443/hook?token=a%2Cb";

    fn ours() -> WebhookUrl {
        OURS.parse().unwrap()
    }

    fn integration(endpoints: &str, headers: &[(&str, &str)]) -> HttpIntegration {
        let headers = headers.iter();
        HttpIntegration {
            endpoints: endpoints.to_owned(),
            headers: headers
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            encoding: Encoding::Protobuf,
        }
    }

    fn connect(now: &HttpIntegration, place: KeyPlace) -> Result<HttpIntegration, Collision> {
        connected(Some(now), &ours(), &"db_new".into(), place, false)
    }

    fn arriving(integration: &HttpIntegration) -> String {
        let endpoint = our_endpoint(integration, &ours()).unwrap();
        let key = endpoint.arriving_key(integration).unwrap();
        key.expose_secret().to_owned()
    }

    #[test]
    fn alone_the_key_is_in_the_header() {
        let then = connected(None, &ours(), &"db_new".into(), KeyPlace::Auto, false).unwrap();
        assert_eq!(then.endpoints, OURS);
        assert_eq!(then.headers["Authorization"], "Bearer db_new");
        assert_eq!(then.encoding, Encoding::Json);
        assert_eq!(arriving(&then), "db_new");
        // An older key is replaced, wherever it was.
        for now in [
            integration(OURS, &[("authorization", "Bearer db_old")]),
            integration(
                "HTTPS://downbeat:db_old@Lights.example:443/api/v1/webhooks/chirpstack",
                &[],
            ),
        ] {
            let then = connect(&now, KeyPlace::Auto).unwrap();
            assert_eq!((then.endpoints.as_str(), then.headers.len()), (OURS, 1));
            assert_eq!(arriving(&then), "db_new");
            assert_eq!(then.encoding, Encoding::Protobuf);
        }
    }

    #[test]
    fn beside_others_the_key_is_in_our_url_and_theirs_stay_as_they_are() {
        let now = integration(OTHER, &[("X-Site", "north")]);
        let then = connect(&now, KeyPlace::Auto).unwrap();
        let expected =
            format!("{OTHER},https://downbeat:db_new@lights.example/api/v1/webhooks/chirpstack");
        assert_eq!(then.endpoints, expected);
        assert_eq!(then.headers, now.headers);
        assert_eq!(then.encoding, now.encoding);
        assert_eq!(arriving(&then), "db_new");
        // Again, between two others, twice by mistake.
        let now = integration(&format!("{OTHER}, {OURS} ,no url,{OURS}"), &[]);
        let then = connect(&now, KeyPlace::Url).unwrap();
        let expected = format!(
            "{OTHER},https://downbeat:db_new@lights.example/api/v1/webhooks/chirpstack,no url"
        );
        assert_eq!(then.endpoints, expected);
    }

    #[test]
    fn a_header_of_others_is_neither_replaced_nor_sent_our_way() {
        let now = integration(OTHER, &[("AUTHORIZATION", "Bearer theirs")]);
        for place in [KeyPlace::Auto, KeyPlace::Header, KeyPlace::Url] {
            assert_eq!(connect(&now, place), Err(Collision::OthersAuthorization));
        }
        // Our own key that was in the header moves into our URL, once there are others.
        let now = integration(
            &format!("{OURS},{OTHER}"),
            &[("Authorization", "Bearer db_old")],
        );
        let then = connected(Some(&now), &ours(), &"db_new".into(), KeyPlace::Auto, true);
        let then = then.unwrap();
        assert_eq!(then.headers.len(), 0);
        assert_eq!(arriving(&then), "db_new");
    }

    #[test]
    fn an_operator_may_share_the_key_with_others() {
        let then = connect(&integration(OTHER, &[]), KeyPlace::Header).unwrap();
        assert_eq!(then.endpoints, format!("{OTHER},{OURS}"));
        assert_eq!(arriving(&then), "db_new");
    }

    #[test]
    fn the_key_that_arrives_is_the_headers() {
        let url = "https://downbeat:in%2Curl@lights.example/api/v1/webhooks/chirpstack";
        assert_eq!(arriving(&integration(url, &[])), "in,url");
        let both = integration(url, &[("Authorization", "Basic ZG93bjpoZWFkZXI=")]);
        assert_eq!(arriving(&both), "header");
        let other = integration(url, &[("Authorization", "Digest x")]);
        let endpoint = our_endpoint(&other, &ours()).unwrap();
        assert!(endpoint.arriving_key(&other).is_none());
    }

    #[test]
    fn a_url_of_ours_is_whole_and_open() {
        for (text, whole) in [
            (
                "http://lights:8000",
                "http://lights:8000/api/v1/webhooks/chirpstack",
            ),
            (
                "HTTP://Lights:80/",
                "http://lights/api/v1/webhooks/chirpstack",
            ),
            ("https://[::1]:8443/x?y=z", "https://[::1]:8443/x?y=z"),
            ("http://lights/sub/", "http://lights/sub/"),
        ] {
            assert_eq!(text.parse::<WebhookUrl>().unwrap().as_str(), whole);
        }
        for text in [
            "",
            "lights:8000",
            "/api/v1",
            "ftp://lights/",
            "http://",
            "http://lights/a,b",
            "http://me:secret@lights/",
        ] {
            assert!(text.parse::<WebhookUrl>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn passwords_survive_urls_and_are_not_shown() {
        for key in ["db_-x", "a,b/c@d:e%f", "ä"] {
            let url = ours().with_key(key);
            assert!(!url.contains(','));
            let endpoint = Endpoint::read(&url).unwrap();
            assert_eq!(endpoint.password.as_deref(), Some(key));
            assert_eq!(endpoint.without_key, OURS);
            assert_eq!(
                masked(&url),
                "https://***@lights.example/api/v1/webhooks/chirpstack"
            );
        }
        assert_eq!(percent_decoded("%zz%4"), "%zz%4");
        assert_eq!(masked("http://a/@b"), "http://a/@b");
        assert_eq!(masked("nonsense"), "nonsense");
    }
}
