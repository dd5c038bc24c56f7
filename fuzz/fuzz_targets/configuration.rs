//! `cargo +nightly fuzz run configuration`; what must hold is in `checks`.

#![no_main]

use apono_connector_fuzz::checks;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| checks::configuration(data));
