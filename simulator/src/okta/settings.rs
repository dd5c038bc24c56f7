//! # Purpose
//! Every knob of the simulated Okta org: its address, limits, delays and the peculiarities it shows on the wire.
//!
//! # Invariants kept here
//! - The default is a well-behaved org with a service app's usual share of the rate limits.
//!
//! # Not here
//! Faults scripted for single calls: see [`super::faults`].

use std::collections::BTreeMap;
use std::time::Duration;

/// How the org behaves. Can be changed while it runs, see [`super::OktaSimulator::configure`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// Scheme, host and port, without a trailing slash. The token URL and `Link` URLs are built from it.
    pub origin: String,
    /// Another name of the org's own, scheme and host: discovery tells of it, and it issues tokens too.
    pub custom_domain: Option<String>,
    /// Ids, tokens, nonces and cursors all follow from this number.
    pub seed: u64,
    /// Rate limits and concurrency.
    pub limits: Limits,
    /// How long reads lag behind membership writes made through the API. Changes made by the test (an
    /// administrator, so to speak) are visible at once, and `lastMembershipUpdated` never lags.
    pub visibility_lag: Duration,
    /// How long a new user stays unseen by `search`, which reads an index of its own.
    pub search_lag: Duration,
    /// How long System Log events stay unseen after they were published.
    pub log_lag: Duration,
    /// How long an admin role that was assigned through the API is not in force yet.
    pub role_lag: Duration,
    /// How long every call takes, with its concurrency slot held.
    pub latency: Duration,
    /// `expires_in` of an access token.
    pub token_lifetime: Duration,
    /// Defaults and caps of `limit`.
    pub page_sizes: PageSizes,
    /// How `Link` headers are sent.
    pub links: LinkStyle,
    /// When set, `next` links name this origin instead of the one that was called (an alias host).
    pub next_link_origin: Option<String>,
    /// Parameters that get lost from `next` links on the way from page to page.
    pub next_link_loses: Vec<&'static str>,
    /// How many objects of the page before each page of users, groups or members shows again.
    pub page_overlap: u32,
    /// How many pages with nothing on them, and a `next` link, come between two pages of users, groups or members.
    pub blank_pages: u32,
    /// Pages of users, groups or members on which the org takes too long.
    pub slow_pages: Option<SlowPages>,
    /// How the `x-rate-limit-*` headers are sent.
    pub rate_headers: RateHeaders,
    /// Scopes that the org does not know, such as those of a feature that it lacks: who asks for one gets no token.
    pub unknown_scopes: Vec<&'static str>,
    /// Whether a token's answer says which scopes it has.
    pub tells_scopes: bool,
    /// Proofs of possession at the token endpoint.
    pub dpop: DpopRule,
    /// API calls with a `DPoP` token must carry the current nonce, too.
    pub dpop_nonce_on_api: bool,
    /// The caller's address is outside the client's permitted network zone: no tokens.
    pub outside_network_zone: bool,
    /// What writing to an `APP_GROUP` or `BUILT_IN` group answers.
    pub read_only_groups: ReadOnlyGroups,
    /// What removing somebody who is not a member answers.
    pub absent_member: AbsentMember,
    /// Name of the member of `_embedded.stats` that tells admin groups. Okta's spec, notes and clients disagree.
    pub admin_stats_member: String,
    /// Error code for a cursor that is not (or no longer) valid: `E0000031` or `E0000054`.
    pub invalid_cursor_code: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            origin: "https://example.okta.com".into(),
            custom_domain: None,
            seed: 1,
            limits: Limits::workforce_app(),
            visibility_lag: Duration::ZERO,
            search_lag: Duration::ZERO,
            log_lag: Duration::ZERO,
            role_lag: Duration::ZERO,
            latency: Duration::ZERO,
            token_lifetime: Duration::from_hours(1),
            page_sizes: PageSizes::default(),
            links: LinkStyle::Separate,
            next_link_origin: None,
            next_link_loses: Vec::new(),
            page_overlap: 0,
            blank_pages: 0,
            slow_pages: None,
            rate_headers: RateHeaders::Once,
            unknown_scopes: Vec::new(),
            tells_scopes: true,
            dpop: DpopRule::Optional,
            dpop_nonce_on_api: false,
            outside_network_zone: false,
            read_only_groups: ReadOnlyGroups::Forbidden,
            absent_member: AbsentMember::NoContent,
            admin_stats_member: "hasAdminPrivilege".into(),
            invalid_cursor_code: "E0000031",
        }
    }
}

impl Settings {
    /// The address at which this org issues tokens.
    #[must_use]
    pub fn token_url(&self) -> String {
        format!("{}/oauth2/v1/token", self.origin)
    }

    /// That, and the one at its custom domain.
    #[must_use]
    pub fn token_urls(&self) -> Vec<String> {
        let custom = self.custom_domain.as_ref().map(|domain| format!("{domain}/oauth2/v1/token"));
        std::iter::once(self.token_url()).chain(custom).collect()
    }
}

/// What the token endpoint makes of a `DPoP` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DpopRule {
    /// Takes no notice of it, as before it knew of proofs: tokens are never bound.
    Unknown,
    /// A valid proof yields a bound token.
    Optional,
    /// The app has "Require DPoP header in token requests" ticked: a request without a proof fails.
    Required,
}

/// Defaults and caps of `limit`. A larger `limit` is cut to the cap, except for groups, where it is an error.
#[derive(Clone, Copy, Debug)]
pub struct PageSizes {
    /// `GET /users`: default and cap.
    pub users: usize,
    /// `GET /users/{id}/groups`: always this many.
    pub groups_of_user: usize,
    /// `GET /groups`: default.
    pub groups: usize,
    /// `GET /groups`: cap.
    pub groups_max: usize,
    /// `GET /groups/{id}/users`: default and cap.
    pub members: usize,
    /// `GET /groups/rules`: default.
    pub rules: usize,
    /// `GET /groups/rules`: cap.
    pub rules_max: usize,
    /// `GET /logs`: default.
    pub logs: usize,
    /// `GET /logs`: cap.
    pub logs_max: usize,
    /// Custom roles, resource sets, what is in one, and the scopes of an app: always this many.
    pub management: usize,
}

impl Default for PageSizes {
    fn default() -> Self {
        Self {
            users: 200,
            groups_of_user: 200,
            groups: 200,
            groups_max: 10_000,
            members: 1000,
            rules: 50,
            rules_max: 200,
            logs: 100,
            logs_max: 1000,
            management: 100,
        }
    }
}

/// Pages that are too much for the org: what they hold counts, and not what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowPages {
    /// A page with more objects is too much.
    pub over: usize,
    /// What comes of it.
    pub answer: SlowAnswer,
}

/// What comes of a page that is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowAnswer {
    /// 500 `E0000009`, as of a request that Okta has given up on.
    InternalError,
    /// A gateway's status and no body, such as 502 or 504.
    Gateway(u16),
    /// Nothing, for as long as anybody waits.
    Never,
    /// The first so many bytes, as through a proxy that passes no more.
    Cut(usize),
}

/// How `self` and `next` are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkStyle {
    /// One `Link` header each.
    Separate,
    /// One `Link` header, comma-joined.
    Joined,
}

/// How the `x-rate-limit-*` headers are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateHeaders {
    /// Each once.
    Once,
    /// Each twice: first the app's share, then the org-wide figures, which are twice as large.
    Twice,
    /// Not at all.
    Absent,
}

/// What writing to a group that is not an `OKTA_GROUP` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOnlyGroups {
    /// 403 `E0000006`, as since release 2026.04.
    Forbidden,
    /// 501 `E0000060`, as before.
    Unsupported,
}

/// What removing somebody who is not a member answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbsentMember {
    /// 204, as if there had been something to remove.
    NoContent,
    /// 404 `E0000007`.
    NotFound,
}

/// Calls that share one budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bucket {
    /// `/api/v1/users`, and the groups of a user.
    Users,
    /// `/api/v1/users/{idOrLogin}`.
    UserById,
    /// `/api/v1/groups` and everything below it except the group itself: listings, members *and* writes.
    Groups,
    /// `/api/v1/groups/{id}`.
    GroupById,
    /// `/api/v1/logs`.
    Logs,
    /// `/oauth2/v1/token`.
    Token,
    /// The rest of `/api/v1`.
    Rest,
}

/// Rate limits per window, and the concurrency limit.
#[derive(Clone, Debug)]
pub struct Limits {
    budgets: BTreeMap<Bucket, u32>,
    window: Duration,
    concurrency: Option<usize>,
}

impl Limits {
    /// What one service app gets of a Workforce org: half of each bucket and of the 75 concurrent calls.
    #[must_use]
    pub fn workforce_app() -> Self {
        Self {
            budgets: BTreeMap::from([
                (Bucket::Users, 300),
                (Bucket::UserById, 1000),
                (Bucket::Groups, 250),
                (Bucket::GroupById, 500),
                (Bucket::Logs, 60),
                (Bucket::Token, 1000),
                (Bucket::Rest, 600),
            ]),
            window: Duration::from_mins(1),
            concurrency: Some(37),
        }
    }

    /// What one service app gets of a free Integrator org: half of each bucket and of the 35 concurrent calls.
    #[must_use]
    pub fn integrator_app() -> Self {
        Self {
            budgets: BTreeMap::from([
                (Bucket::Users, 50),
                (Bucket::UserById, 50),
                (Bucket::Groups, 50),
                (Bucket::GroupById, 50),
                (Bucket::Logs, 10),
                (Bucket::Token, 150),
                (Bucket::Rest, 50),
            ]),
            window: Duration::from_mins(1),
            concurrency: Some(17),
        }
    }

    /// No call is ever refused. The headers show a very large budget.
    #[must_use]
    pub fn unlimited() -> Self {
        Self { budgets: BTreeMap::new(), window: Duration::from_mins(1), concurrency: None }
    }

    /// The same budget for every bucket, no concurrency limit.
    #[must_use]
    pub fn per_minute(calls: u32) -> Self {
        let mut limits = Self::workforce_app();
        limits.concurrency = None;
        for budget in limits.budgets.values_mut() {
            *budget = calls;
        }
        limits
    }

    /// With another budget for one bucket.
    #[must_use]
    pub fn with_budget(mut self, bucket: Bucket, calls: u32) -> Self {
        self.budgets.insert(bucket, calls);
        self
    }

    /// With another window length. Okta's is a minute.
    #[must_use]
    pub fn with_window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// With at most so many calls in flight.
    #[must_use]
    pub fn with_concurrency(mut self, calls: usize) -> Self {
        self.concurrency = Some(calls);
        self
    }

    /// The budget of a bucket, if it has one.
    #[must_use]
    pub fn budget(&self, bucket: Bucket) -> Option<u32> {
        self.budgets.get(&bucket).copied()
    }

    /// How long a budget lasts.
    #[must_use]
    pub fn window(&self) -> Duration {
        self.window
    }

    /// How many calls may be in flight.
    #[must_use]
    pub fn concurrency(&self) -> Option<usize> {
        self.concurrency
    }
}
