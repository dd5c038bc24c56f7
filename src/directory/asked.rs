//! # Purpose
//! Runs that somebody asks for at a daemon that does not own the organization: a row in the fleet's database, which the owner
//! answers.
//!
//! # Invariants kept here
//! - Who asks gets a run that begins after the question, whoever is the owner by then; or an error.
//! - A question that nobody waits for any more goes within a day.
//!
//! # Not here
//! Running. Whose turn it is: `app`.

use std::time::Duration;

use serde_json::Value;
use tokio_postgres::types::{Json, Type};

use crate::database::{Database, DatabaseError};
use crate::domain::IntegrationId;

/// For one statement.
const LIMIT: Duration = Duration::from_secs(3);

const ASK: &str = "INSERT INTO apono_connector.asked_runs (integration) VALUES ($1) RETURNING n";
const ANSWER: &str = "SELECT answer FROM apono_connector.asked_runs WHERE n = $1 AND answer IS NOT NULL";
const FORGET: &str = "
    DELETE FROM apono_connector.asked_runs WHERE n = $1 OR asked_at < clock_timestamp() - interval '1 day'";
const OPEN: &str = "SELECT n FROM apono_connector.asked_runs WHERE integration = $1 AND answer IS NULL";
const ANSWERED: &str = "UPDATE apono_connector.asked_runs SET answer = $2 WHERE n = ANY ($1)";

/// Asks the owner for a run; the question's number.
pub async fn ask(database: &Database, integration: &IntegrationId) -> Result<i64, DatabaseError> {
    let integration = integration.as_str();
    database
        .run(
            LIMIT,
            async |client| Ok(client.query_typed(ASK, &[(&integration, Type::TEXT)]).await?[0].get(0)),
        )
        .await
}

/// The run that was made, as its own JSON, if it was.
pub async fn answer(database: &Database, n: i64) -> Result<Option<Value>, DatabaseError> {
    let rows = database
        .run(LIMIT, async |client| Ok(client.query_typed(ANSWER, &[(&n, Type::INT8)]).await?))
        .await?;
    Ok(rows.first().map(|row| row.get::<_, Json<Value>>(0).0))
}

/// Nobody waits for it any more.
pub async fn forget(database: &Database, n: i64) -> Result<(), DatabaseError> {
    database.run(LIMIT, async |client| Ok(client.query_typed(FORGET, &[(&n, Type::INT8)]).await?)).await?;
    Ok(())
}

/// The questions about this organization that nobody has answered.
pub async fn open(database: &Database, integration: &IntegrationId) -> Result<Vec<i64>, DatabaseError> {
    let integration = integration.as_str();
    let rows = database
        .run(LIMIT, async |client| Ok(client.query_typed(OPEN, &[(&integration, Type::TEXT)]).await?))
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Answers them with this run.
pub async fn answered(database: &Database, questions: &[i64], run: Value) -> Result<(), DatabaseError> {
    let run = Json(run);
    database
        .run(LIMIT, async |client| {
            let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
                [(&questions, Type::INT8_ARRAY), (&run, Type::JSON)];
            Ok(client.query_typed(ANSWERED, &parameters).await?)
        })
        .await?;
    Ok(())
}
