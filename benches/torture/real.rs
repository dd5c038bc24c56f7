//! The real process, killed: what `tests/e2e/` uses.

#[path = "../../simulator/tests/contract/checker.rs"]
#[expect(dead_code, reason = "written for another test, which uses more of it")]
mod checker;
#[path = "../../tests/e2e/kills.rs"]
pub mod kills;
#[path = "../../tests/e2e/world.rs"]
#[expect(dead_code, reason = "written for other tests, which use more of it")]
mod world;

use crate::oracle;
