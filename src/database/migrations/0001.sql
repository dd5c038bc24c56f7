-- To whom the state belongs: the connector's id, and each organization's URL by its integration id.
CREATE TABLE apono_connector.owner (what text PRIMARY KEY, value text NOT NULL);

-- The number of the last entry. Whoever appends holds this row, so that entries become visible in their order.
CREATE TABLE apono_connector.head (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    seq    bigint NOT NULL DEFAULT 0,
    proofs bigint NOT NULL DEFAULT 0
);
INSERT INTO apono_connector.head DEFAULT VALUES;

-- The journal. `about` is the grant that a record says it is about; `at` and `record` are the connector's own texts: an
-- instant has nanoseconds, and json, unlike jsonb, holds every character.
CREATE TABLE apono_connector.entries (
    seq     bigint PRIMARY KEY,
    subject text NOT NULL,
    about   text,
    at      text NOT NULL,
    record  json NOT NULL,
    daemon  text NOT NULL
);
CREATE INDEX entries_by_subject ON apono_connector.entries (subject, seq);
CREATE INDEX entries_by_grant ON apono_connector.entries (about) WHERE about IS NOT NULL;

CREATE TABLE apono_connector.subjects (subject text PRIMARY KEY, open boolean NOT NULL);
CREATE INDEX open_subjects ON apono_connector.subjects (subject) WHERE open;

-- What grants ask for, group by group, and which daemon is at it. An epoch is never given twice.
CREATE SEQUENCE apono_connector.epochs;
CREATE TABLE apono_connector.duties (
    grant_id text NOT NULL,
    group_id text NOT NULL,
    due      timestamptz,
    daemon   text,
    epoch    bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (grant_id, group_id)
);

-- The daemons, by one run of the process each.
CREATE TABLE apono_connector.daemons (
    id          text PRIMARY KEY,
    host        text NOT NULL,
    version     text NOT NULL,
    started_at  timestamptz NOT NULL,
    heard_at    timestamptz NOT NULL,
    alive_until timestamptz NOT NULL
);

-- Which daemon owns which organization.
CREATE TABLE apono_connector.organizations (
    integration text PRIMARY KEY,
    daemon      text,
    epoch       bigint NOT NULL DEFAULT 0,
    since       timestamptz,
    -- Counts the changes of the table below.
    slices      bigint NOT NULL DEFAULT 0
);

-- Which part of an organization's share of Okta's limits each daemon holds, and what it could use.
CREATE TABLE apono_connector.slices (
    integration       text NOT NULL,
    daemon            text NOT NULL,
    slice             double precision NOT NULL,
    directory_waiting bigint NOT NULL,
    access_waiting    bigint NOT NULL,
    spent             bigint NOT NULL,
    of                bigint NOT NULL,
    counts_until      timestamptz NOT NULL,
    PRIMARY KEY (integration, daemon)
);
