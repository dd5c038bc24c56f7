//! `cargo +nightly fuzz run scim_filter`; what must hold is in `checks`.

#![no_main]

use apono_connector_fuzz::checks;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| checks::scim_filter(data));
