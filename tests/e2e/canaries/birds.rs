//! Texts that must never be seen where secrets do not belong, and the search for them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{Arc, Mutex};

use aho_corasick::AhoCorasick;
use apono_connector::entropy::SystemEntropy;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

/// Shorter ones could be anywhere by chance.
const SHORTEST: usize = 12;
/// How the texts begin that are made here.
const SONG: &str = "canary";

/// Shared by everybody who hears of a secret: what it is, by its text.
#[derive(Clone, Default)]
pub struct Canaries(Arc<Mutex<BTreeMap<String, Bird>>>);

#[derive(Clone, Copy)]
struct Bird {
    what: &'static str,
    is_given: bool,
}

/// Where a canary could be, and those that somebody has put there on purpose.
pub struct Place {
    pub name: String,
    pub bytes: Vec<u8>,
    pub meant: Vec<String>,
}

impl Canaries {
    /// A new one, of letters and digits.
    pub fn fresh(&self, what: &'static str) -> String {
        let text = format!("{SONG}{}", unique());
        self.give(what, &text);
        text
    }

    /// A new one with what a bearer token may have beside them (RFC 6750 section 2.1).
    pub fn token(&self, what: &'static str) -> String {
        let text = format!("{SONG}{}+/{}==", &unique()[..16], &unique()[..16]);
        self.give(what, &text);
        text
    }

    /// A new one with what is written otherwise in JSON, in a URL, in a log.
    pub fn awkward(&self, what: &'static str) -> String {
        let text = format!("{SONG}{}\"+/%\\{}", &unique()[..16], &unique()[..16]);
        self.give(what, &text);
        text
    }

    /// One that is mounted, typed or sent to the connector.
    pub fn give(&self, what: &'static str, text: &str) {
        self.add(what, text, true);
    }

    /// One that the connector has made, or got from a peer, as it goes over the wire.
    pub fn hear(&self, what: &'static str, text: &str) {
        self.add(what, text, false);
    }

    fn add(&self, what: &'static str, text: &str, is_given: bool) {
        assert!(text.len() >= SHORTEST, "{what} {text:?} is too short to be looked for");
        // What was given is heard as well when it is used.
        self.0.lock().unwrap().entry(text.to_owned()).or_insert(Bird { what, is_given });
    }

    /// The private members of a key, and what they stand for.
    pub fn give_key(&self, private: &Value) {
        for member in ["d", "p", "q", "dp", "dq", "qi"] {
            if let Some(text) = private[member].as_str() {
                self.give("private key", text);
            }
        }
    }

    /// How many of each kind were given, and how many were heard.
    pub fn kinds(&self) -> [BTreeMap<&'static str, usize>; 2] {
        let (mut given, mut heard) = (BTreeMap::new(), BTreeMap::new());
        for bird in self.0.lock().unwrap().values() {
            let kinds = if bird.is_given { &mut given } else { &mut heard };
            *kinds.entry(bird.what).or_default() += 1;
        }
        [given, heard]
    }

    /// What is found, as sentences.
    pub fn found_in(&self, places: &[Place]) -> Vec<String> {
        let known = self.0.lock().unwrap();
        let mut needles: Vec<(Vec<u8>, &str, &str)> = Vec::new();
        for (text, bird) in known.iter() {
            needles.extend(forms(text).into_iter().map(|form| (form, bird.what, text.as_str())));
        }
        let search = AhoCorasick::new(needles.iter().map(|(needle, _, _)| needle)).unwrap();
        let mut found = Vec::new();
        for Place { name, bytes, meant } in places {
            for hit in search.find_iter(bytes) {
                let (_, what, text) = &needles[hit.pattern().as_usize()];
                if meant.iter().any(|meant| meant == text) {
                    continue;
                }
                let around = &bytes[hit.start().saturating_sub(200)..bytes.len().min(hit.end() + 80)];
                found.push(format!("{name}: {what} {text}: …{}…", String::from_utf8_lossy(around)));
            }
        }
        found
    }
}

fn unique() -> String {
    SystemEntropy::shared().uuid().simple().to_string()
}

/// As it is, as it stands in JSON, in a URL, in a text of Rust's, in hexadecimal, in base64 of whatever it stands in, and the
/// number that it stands for. Of one that was made here, each word by itself too, in whatever way the rest is written.
fn forms(text: &str) -> BTreeSet<Vec<u8>> {
    let mut texts = BTreeSet::from([text.to_owned()]);
    let json = Value::from(text).to_string();
    let json = json.trim_matches('"').to_owned();
    texts.insert(json.replace('/', "\\/"));
    texts.insert(Value::from(json.as_str()).to_string().trim_matches('"').to_owned());
    texts.insert(json);
    let in_url = utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    texts.insert(in_url.to_ascii_lowercase());
    texts.insert(in_url);
    texts.insert(url::form_urlencoded::byte_serialize(text.as_bytes()).collect());
    texts.insert(format!("{text:?}").trim_matches('"').to_owned());
    let hex = text.bytes().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    texts.insert(hex.to_uppercase());
    texts.insert(hex);
    if text.starts_with(SONG) {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        texts.extend(words.filter(|word| word.len() >= SHORTEST).map(str::to_owned));
    }
    for shift in 0..3 {
        let shifted = [&[b'.'; 2][..shift], text.as_bytes()].concat();
        for encoded in [STANDARD_NO_PAD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)] {
            // The characters on either edge hold bits of what is around.
            texts.insert(encoded[shift * 8 / 6 + usize::from(shift > 0)..encoded.len() - 1].to_owned());
        }
    }
    let mut forms: BTreeSet<_> = texts.into_iter().map(String::into_bytes).collect();
    forms.extend(URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() >= SHORTEST));
    forms
}

fn at(name: &str, text: &str, meant: &[&str]) -> Place {
    let meant = meant.iter().map(|&meant| meant.to_owned()).collect();
    Place { name: name.to_owned(), bytes: text.as_bytes().to_vec(), meant }
}

#[test]
fn a_canary_is_found_in_every_form() {
    let canaries = Canaries::default();
    for canary in [canaries.fresh("test"), canaries.token("test"), canaries.awkward("test")] {
        let hex: String = canary.bytes().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        let json = serde_json::json!({ "said": canary }).to_string();
        let texts = [
            format!("token={canary}&x"),
            format!("[{hex}]"),
            STANDARD_NO_PAD.encode(format!("user:{canary}")),
            STANDARD_NO_PAD.encode(format!("us:{canary}:more")),
            STANDARD_NO_PAD.encode(format!("u:{canary} and so on")),
            URL_SAFE_NO_PAD.encode(format!("us:{canary}:more")),
            serde_json::json!({ "quoted": json }).to_string(),
            json.replace('/', "\\/"),
            format!("{:?}", json.as_str()),
            url::form_urlencoded::byte_serialize(canary.as_bytes()).collect(),
            utf8_percent_encode(&canary, NON_ALPHANUMERIC).to_string(),
            // The first half alone.
            canary[..23].to_owned() + "…",
        ];
        let last = texts.len() - 1;
        for (n, text) in texts.iter().enumerate() {
            let found = canaries.found_in(&[at("here", text, &[])]);
            // One word is not told by its half.
            let is_known = n != last || !canary.chars().all(char::is_alphanumeric);
            assert_eq!(!found.is_empty(), is_known, "{text}");
            assert!(canaries.found_in(&[at("here", text, &[&canary])]).is_empty(), "it is meant to be there");
        }
    }
    assert!(canaries.found_in(&[at("here", "nothing of the kind", &[])]).is_empty());
}

#[test]
fn what_was_given_counts_as_given_although_it_is_heard() {
    let canaries = Canaries::default();
    let given = canaries.fresh("token");
    canaries.hear("token in use", &given);
    canaries.hear("access token", "something-that-is-heard");
    let [given, heard] = canaries.kinds();
    assert_eq!((given.len(), given["token"]), (1, 1));
    assert_eq!((heard.len(), heard["access token"]), (1, 1));
}
