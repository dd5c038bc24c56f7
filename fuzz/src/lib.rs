//! What the fuzz targets share. The same file is a module of the test binary `it`, which runs the corpora without a
//! fuzzer.

pub mod checks;
