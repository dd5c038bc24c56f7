-- What is an organization's at its SCIM service, as its owner's local store has it: a `user` or a `group` has Okta's id, and
-- as its value the service's; a `member` has the service's ids of the group and, as its part, of the user; a `mark` is what
-- the breaker remembers.
CREATE TABLE apono_connector.belongings (
    integration text NOT NULL,
    kind        text NOT NULL,
    id          text NOT NULL,
    part        text NOT NULL,
    value       text NOT NULL,
    origin      text,
    PRIMARY KEY (integration, kind, id, part)
);

-- Which local store has written them last, under which epoch of the organization, up to which of its changes.
CREATE TABLE apono_connector.stores (
    integration text PRIMARY KEY,
    store       text NOT NULL,
    epoch       bigint NOT NULL,
    number      bigint NOT NULL
);

-- Directory runs that somebody asked for at a daemon that does not own the organization.
CREATE TABLE apono_connector.asked_runs (
    n           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    integration text NOT NULL,
    asked_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    answer      json
);
CREATE INDEX open_asked_runs ON apono_connector.asked_runs (integration) WHERE answer IS NULL;

-- Since when a daemon lives, by the database's clock.
ALTER TABLE apono_connector.daemons ADD COLUMN joined_at timestamptz NOT NULL DEFAULT clock_timestamp();
