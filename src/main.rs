//! Arguments to exit code, and the allocator; everything else is in the library.

use std::process::ExitCode;

// The C library's keeps what was freed for each thread that was ever there (docs/adr/0018).
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    apono_connector::cli::main()
}
