//! `cargo +nightly fuzz run task_envelope`; what must hold is in `checks`.

#![no_main]

use apono_connector_fuzz::checks;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| checks::task_envelope(data));
