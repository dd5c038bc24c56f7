//! # Purpose
//! A seeded person: everything about them follows from a seed and a number, so nothing is stored.
//!
//! # Invariants kept here
//! - No two people of one org share a login, and a login leads back to its person without a table.
//! - Custom attributes of every JSON type occur; some nullable attributes are null, some are left out.
//!
//! # Not here
//! Status and timestamps, which change and are stored.

use std::fmt::Write as _;
use std::sync::LazyLock;

use super::super::hash::mix;
use super::super::json::{Object, write_array, write_text};
use super::words::{DEPARTMENTS, FIRST, LAST, PLACES, SKILLS};

/// How many different full names there are.
const NAMES: u32 = 4096;

/// First and last names as logins have them.
static LOGIN_NAMES: LazyLock<[Vec<String>; 2]> =
    LazyLock::new(|| [&FIRST, &LAST].map(|names| names.iter().map(|name| ascii(name)).collect()));

/// People who were seeded together: a run of user numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    /// Number of the first.
    pub(super) first: u32,
    /// How many.
    pub(super) count: u32,
    /// Full names are used up in rounds; this is the first round of this batch.
    pub(super) round: u32,
    /// Where everything else comes from.
    pub(super) seed: u64,
}

impl Batch {
    /// The round that a following batch starts with.
    pub(super) fn next_round(&self) -> u32 {
        self.round + self.count.div_ceil(NAMES)
    }

    /// The person with user number `index`.
    pub(super) fn person(&self, index: u32) -> Person {
        let position = index - self.first;
        let name = position.wrapping_mul(self.stride()).wrapping_add(self.shift()) % NAMES;
        Person {
            index,
            batch: *self,
            name: index_below(u64::from(name)),
            first_name: pick(&FIRST, u64::from(name / 64)),
            last_name: pick(&LAST, u64::from(name % 64)),
            round: self.round + position / NAMES,
            dice: mix(self.seed, u64::from(index)),
        }
    }

    /// The user number of that login (or of its short form), if it is in this batch.
    pub(super) fn index_of(&self, login: &str) -> Option<u32> {
        let name = login.strip_suffix("@example.com").unwrap_or(login);
        let mut parts = name.split('.');
        let (first, last) = (parts.next()?, parts.next()?);
        let [first_names, last_names] = &*LOGIN_NAMES;
        let first_name = first_names.iter().position(|candidate| candidate == first)?;
        let last_name = last_names.iter().position(|candidate| candidate == last)?;
        let round = match parts.next() {
            None => 0,
            Some(number) => number.parse::<u32>().ok()?.checked_sub(1)?,
        };
        let wanted = u32::try_from(first_name * 64 + last_name).ok()?;
        let in_round = (0..NAMES).find(|position| {
            position.wrapping_mul(self.stride()).wrapping_add(self.shift()) % NAMES == wanted
        })?;
        let position = round.checked_sub(self.round)?.checked_mul(NAMES)?.checked_add(in_round)?;
        (position < self.count).then_some(self.first + position)
    }

    fn stride(&self) -> u32 {
        // Odd, hence coprime to the number of names: every name comes once a round.
        u32::try_from(mix(self.seed, 1) % u64::from(NAMES)).unwrap_or(0) | 1
    }

    fn shift(&self) -> u32 {
        u32::try_from(mix(self.seed, 2) % u64::from(NAMES)).unwrap_or(0)
    }
}

/// One seeded person.
#[derive(Clone, Copy, Debug)]
pub(super) struct Person {
    index: u32,
    batch: Batch,
    name: usize,
    pub(super) first_name: &'static str,
    pub(super) last_name: &'static str,
    round: u32,
    dice: u64,
}

impl Person {
    /// The part of the login before the `@`.
    pub(super) fn short_name(&self) -> String {
        let [first_names, last_names] = &*LOGIN_NAMES;
        let mut name = String::with_capacity(48);
        name.push_str(first_names.get(self.name / 64).map_or("", String::as_str));
        name.push('.');
        name.push_str(last_names.get(self.name % 64).map_or("", String::as_str));
        if self.round > 0 {
            let _ = write!(name, ".{}", self.round + 1);
        }
        name
    }

    /// The login, which is also the email address.
    pub(super) fn login(&self) -> String {
        let mut login = self.short_name();
        login.push_str("@example.com");
        login
    }

    /// A number below `bound` that belongs to this person and `aspect`.
    pub(super) fn roll(&self, aspect: u64, bound: u64) -> u64 {
        mix(self.dice, aspect) % bound
    }

    fn manager(&self) -> Option<Self> {
        let position = self.index - self.batch.first;
        (position > 0).then(|| self.batch.person(self.batch.first + position / 8))
    }

    /// Writes the profile, or only the named members of it.
    pub(super) fn write_profile(&self, out: &mut Vec<u8>, only: Option<&[String]>) {
        let login = self.login();
        let (department, titles) = &DEPARTMENTS[index_below(self.roll(1, 10))];
        let (city, country, locale) = PLACES[index_below(self.roll(2, 8))];
        let mut profile = Object::open_with_only(out, only);
        profile.text("login", &login);
        profile.text("email", &login);
        profile.text("firstName", self.first_name);
        profile.text("lastName", self.last_name);
        profile.raw("displayName", |out| {
            write_text(out, &format!("{} {}", self.first_name, self.last_name));
        });
        profile.text("department", department);
        profile.text("title", titles[index_below(self.roll(3, 16).min(3))]);
        profile.raw("employeeNumber", |out| write_text(out, &format!("E{:06}", self.index + 1)));
        profile.text("userType", if self.roll(4, 9) == 0 { "Contractor" } else { "Employee" });
        profile.text("city", city);
        profile.text("countryCode", country);
        profile.text("locale", locale);
        profile.text("organization", "Example Corp");
        if let Some(manager) = self.manager() {
            let name = format!("{} {}", manager.first_name, manager.last_name);
            profile.text("manager", &name);
            profile.text("managerId", &manager.login());
        }
        match self.roll(5, 5) {
            0 => {}
            1 => profile.null("mobilePhone"),
            _ => profile.raw("mobilePhone", |out| {
                write_text(out, &format!("+1 555 {:07}", self.roll(6, 10_000_000)));
            }),
        }
        if self.roll(7, 4) > 0 {
            profile.null("secondEmail");
        }
        self.write_custom(&mut profile);
        profile.close();
    }

    /// One attribute of each JSON type that Okta's custom attributes can have, and one null.
    fn write_custom(&self, profile: &mut Object<'_>) {
        profile.value("startYear", &(2005 + self.roll(8, 21)));
        profile.value("onCall", &(self.roll(9, 6) == 0));
        if self.roll(10, 2) == 0 {
            let first = self.roll(11, 6);
            profile.raw("skills", |out| {
                write_array(out, 0..=self.roll(12, 3), |out, step| {
                    write_text(out, pick(&SKILLS, first + step));
                });
            });
        }
        match self.roll(13, 4) {
            0 => profile.value("remoteShare", &0.4),
            1 => profile.value("floors", &[1 + self.roll(14, 9), 11]),
            2 => profile.null("clearance"),
            _ => {}
        }
        match self.roll(15, 16) {
            0 => profile.value("allocation", &[0.25, 0.75]),
            1 => profile.text("bio", "<b>Ask me</b> about \"least privilege\" & coffee ☕"),
            _ => {}
        }
    }
}

fn pick(words: &[&'static str], number: u64) -> &'static str {
    words.get(index_below(number) % words.len().max(1)).copied().unwrap_or_default()
}

fn index_below(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

/// Lower case, without diacritics and apostrophes, as login names are.
fn ascii(name: &str) -> String {
    name.chars()
        .filter_map(|letter| match letter {
            'é' | 'ë' => Some('e'),
            'ï' | 'í' => Some('i'),
            'ö' | 'ø' => Some('o'),
            'ü' => Some('u'),
            'á' => Some('a'),
            '\'' => None,
            other => Some(other.to_ascii_lowercase()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Batch;

    #[test]
    fn okta_people_have_logins_of_their_own_that_lead_back_to_them() {
        let first = Batch { first: 3, count: 10_000, round: 0, seed: 42 };
        let second = Batch { first: 10_003, count: 50, round: first.next_round(), seed: 42 };
        let mut logins = HashSet::new();
        for (batch, index) in
            (3..10_003).map(|index| (first, index)).chain((10_003..10_053).map(|i| (second, i)))
        {
            let login = batch.person(index).login();
            assert!(login.is_ascii(), "{login}");
            if index % 97 == 0 || index > 10_000 {
                assert_eq!(batch.index_of(&login), Some(index), "{login}");
                assert_eq!(batch.index_of(&batch.person(index).short_name()), Some(index));
            }
            assert!(logins.insert(login));
        }
        assert_eq!(first.index_of("nobody.here@example.com"), None);
        assert_eq!(first.index_of("plain"), None);
    }
}
