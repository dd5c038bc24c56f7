//! # Purpose
//! Puts pseudonyms in the place of people and of what Okta calls them, in texts of any kind.
//!
//! # Invariants kept here
//! - Pure. The same name has the same pseudonym throughout one bundle, and another in the next: the key is not kept.
//! - A pseudonym keeps the kind (`00u`, an address), so that what is told of one can be followed.
//!
//! # Not here
//! Secrets, of which none may be in a bundle under whatever name: `scan`.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// See the module.
#[derive(Debug)]
pub(super) struct Pseudonyms {
    key: [u8; 16],
    /// Names that have no form by which they could be told, such as logins that are no addresses.
    known: Vec<String>,
    replaced: BTreeMap<&'static str, u64>,
}

/// What Okta's ids begin with, and how they are counted.
const KINDS: [(&str, &str); 4] =
    [("00u", "users"), ("00g", "groups"), ("0oa", "applications"), ("00p", "applications")];
const ID: usize = 20;

impl Pseudonyms {
    pub(super) fn new(key: [u8; 16], known: impl IntoIterator<Item = String>) -> Self {
        let mut known: Vec<_> = known.into_iter().filter(|name| name.len() >= 3).collect();
        // The longer ones first, of which others may be a part.
        known.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        known.dedup();
        Self { key, known, replaced: BTreeMap::new() }
    }

    /// `text` with pseudonyms.
    pub(super) fn put_into(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for name in self.known.clone() {
            if !name.contains('@') && text.contains(&name) {
                let count = text.matches(&name).count();
                text = text.replace(&name, &self.pseudonym("login", &name));
                self.count("logins", count);
            }
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let end = rest.find(|c| !is_of_a_name(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            self.word(word, &mut out);
            let between = after.find(is_of_a_name).unwrap_or(after.len());
            out.push_str(&after[..between]);
            rest = &after[between..];
        }
        out
    }

    /// How many were put, by kind.
    pub(super) fn replaced(&self) -> &BTreeMap<&'static str, u64> {
        &self.replaced
    }

    fn word(&mut self, word: &str, out: &mut String) {
        // A sentence may end with it.
        let bare = word.trim_end_matches(['.', '-']);
        let kind = KINDS.iter().find(|(prefix, _)| bare.starts_with(prefix) && is_id(bare));
        if let Some((prefix, kind)) = kind {
            out.push_str(&self.pseudonym(prefix, bare));
            self.count(kind, 1);
        } else if is_address(bare) {
            out.push_str(&self.pseudonym("person", bare));
            out.push_str("@example.invalid");
            self.count("addresses", 1);
        } else {
            out.push_str(bare);
        }
        out.push_str(&word[bare.len()..]);
    }

    fn pseudonym(&self, kind: &str, name: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(self.key);
        hash.update(name.to_lowercase());
        let digest = hash.finalize();
        format!("{kind}-{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3])
    }

    fn count(&mut self, kind: &'static str, more: usize) {
        *self.replaced.entry(kind).or_default() += more as u64;
    }
}

fn is_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '_' | '%' | '+' | '-' | '@')
}

fn is_id(word: &str) -> bool {
    word.len() == ID && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_address(word: &str) -> bool {
    word.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && domain.contains('.') && !domain.contains('@') && !domain.ends_with(".invalid")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_and_ids_are_replaced_the_same_everywhere_and_nothing_else_is() {
        let mut names = Pseudonyms::new([7; 16], ["ada.l".to_owned(), "Ada@example.com".to_owned()]);
        let id = "00u1234567890abcdefg";
        let text = format!(
            "added {id} to group 00gABCDEFGHIJ1234567 for grant grt_1; ada@example.com, ADA@example.com and ada.l; \
             https://example.okta.com/api/v1/users/{id}. At 2026-01-01T00:00:00Z, 10.0.0.1"
        );
        let put = names.put_into(&text);
        for gone in [id, "00gABCDEFGHIJ1234567", "ada@example.com", "ADA@", "ada.l"] {
            assert!(!put.contains(gone), "{put}");
        }
        let pseudonym = put.split_whitespace().nth(1).unwrap();
        assert!(pseudonym.starts_with("00u-") && put.matches(pseudonym).count() == 2, "{put}");
        assert!(put.contains("grt_1") && put.contains("https://example.okta.com/api/v1/users/00u-"), "{put}");
        assert!(put.ends_with("At 2026-01-01T00:00:00Z, 10.0.0.1"), "{put}");
        let addresses: Vec<_> =
            put.split([' ', ',']).filter(|word| word.contains("@example.invalid")).collect();
        assert!(addresses.len() == 2 && addresses[0] == addresses[1], "{put}");
        let counts: Vec<_> = names.replaced().iter().map(|(kind, count)| (*kind, *count)).collect();
        assert_eq!(counts, [("addresses", 2), ("groups", 1), ("logins", 1), ("users", 2)]);
        // Once more changes nothing, and another bundle has other pseudonyms.
        assert_eq!(names.put_into(&put), put);
        assert_ne!(
            Pseudonyms::new([8; 16], Vec::new()).put_into(id),
            Pseudonyms::new([7; 16], Vec::new()).put_into(id)
        );
    }
}
