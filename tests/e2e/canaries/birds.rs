//! Texts that must never be seen where secrets do not belong, and the search for them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex};

use aho_corasick::AhoCorasick;
use apono_connector::entropy::SystemEntropy;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;

/// Shorter ones could be anywhere by chance.
const SHORTEST: usize = 12;

/// Shared by everybody who hears of a secret: what it is, by its text.
#[derive(Clone, Default)]
pub struct Canaries(Arc<Mutex<BTreeMap<String, &'static str>>>);

impl Canaries {
    /// A new one.
    pub fn fresh(&self, what: &'static str) -> String {
        let text = format!("canary{}", SystemEntropy::shared().uuid().simple());
        self.add(what, &text);
        text
    }

    pub fn add(&self, what: &'static str, text: &str) {
        assert!(text.len() >= SHORTEST, "{what} {text:?} is too short to be looked for");
        self.0.lock().unwrap().insert(text.to_owned(), what);
    }

    /// The private members of a key, and what they stand for.
    pub fn add_key(&self, private: &Value) {
        for member in ["d", "p", "q", "dp", "dq", "qi"] {
            if let Some(text) = private[member].as_str() {
                self.add("private key", text);
            }
        }
    }

    /// How many of each kind there are.
    pub fn kinds(&self) -> BTreeMap<&'static str, usize> {
        let mut kinds = BTreeMap::new();
        for what in self.0.lock().unwrap().values() {
            *kinds.entry(*what).or_default() += 1;
        }
        kinds
    }

    /// What is found, as sentences.
    pub fn found_in(&self, places: &[(String, Vec<u8>)]) -> Vec<String> {
        let known = self.0.lock().unwrap();
        let mut needles: Vec<(Vec<u8>, &str, &str)> = Vec::new();
        for (text, what) in known.iter() {
            needles.extend(forms(text).into_iter().map(|form| (form, *what, text.as_str())));
        }
        let search = AhoCorasick::new(needles.iter().map(|(needle, _, _)| needle)).unwrap();
        let mut found = Vec::new();
        for (place, bytes) in places {
            for hit in search.find_iter(bytes) {
                let (_, what, text) = &needles[hit.pattern().as_usize()];
                let around = &bytes[hit.start().saturating_sub(200)..bytes.len().min(hit.end() + 80)];
                found.push(format!("{place}: {what} {text}: …{}…", String::from_utf8_lossy(around)));
            }
        }
        found
    }
}

/// As it is, in hexadecimal, in base64 of whatever it stands in, and the number that it stands for.
fn forms(text: &str) -> Vec<Vec<u8>> {
    let mut hex = String::new();
    for byte in text.bytes() {
        write!(hex, "{byte:02x}").unwrap();
    }
    let mut forms = vec![text.as_bytes().to_vec(), hex.into_bytes()];
    for shift in 0..3 {
        let shifted = [&[b'.'; 2][..shift], text.as_bytes()].concat();
        let encoded = STANDARD_NO_PAD.encode(&shifted);
        // The characters on either edge hold bits of what is around.
        forms.push(encoded.as_bytes()[shift * 8 / 6 + usize::from(shift > 0)..encoded.len() - 1].to_vec());
    }
    forms.extend(URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() >= SHORTEST));
    forms
}

#[test]
fn a_canary_is_found_in_every_form() {
    let canaries = Canaries::default();
    let canary = canaries.fresh("test");
    let hex: String = canary.bytes().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    let texts = [
        format!("token={canary}&x"),
        format!("[{hex}]"),
        STANDARD_NO_PAD.encode(format!("user:{canary}")),
        STANDARD_NO_PAD.encode(format!("us:{canary}:more")),
        STANDARD_NO_PAD.encode(format!("u:{canary} and so on")),
    ];
    for text in texts {
        let found = canaries.found_in(&[("here".to_owned(), text.clone().into_bytes())]);
        assert_eq!(found.len(), 1, "{text}");
    }
    assert!(canaries.found_in(&[("here".to_owned(), b"nothing of the kind".to_vec())]).is_empty());
}
