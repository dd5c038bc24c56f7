//! # Purpose
//! Everything between "call this operation" and its answer: transport, rate budget, retries.
//!
//! # Invariants kept here
//! - [`exchange::Exchange::call`] is the only loop that sends requests.
//! - A token never leaves for another origin: redirects are not followed, and absolute links are re-attached to the
//!   configured base ([`url::Base::reattach`]).
//!
//! # Not here
//! What a peer's answers mean: `okta::errors`, `apono::errors`, `scim::errors` hand in their classifiers.

pub mod address;
pub mod bearer;
pub mod budget;
pub mod class;
pub mod classify;
pub mod contact;
mod echo;
pub mod exchange;
pub mod mounted_token;
pub(crate) mod obstacle;
pub mod peer_clock;
pub mod proxy;
pub mod retry;
pub mod serving;
pub mod transport;
pub mod url;

pub use budget::{Budget, Lane};
pub use class::Class;
pub use classify::Verdict;
pub use exchange::{Authorize, AuthorizeError, Call, Exchange, ExchangeError};
pub use transport::{Request, Response, Transport, TransportError};
