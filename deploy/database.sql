-- The database that a fleet shares, and a role with no more rights than it needs: psql -v ON_ERROR_STOP=1 -f database.sql,
-- as a superuser. The role's password is read from a file that psql can read, by default compose.fleet.yaml's:
-- -v password_file=FILE names another one.
\if :{?password_file}
\else
    \set password_file /run/secrets/database/password
\endif
\set password `cat :'password_file'`
-- No statement with it is logged, whatever log_statement says.
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
CREATE ROLE apono_connector LOGIN PASSWORD :'password';
CREATE DATABASE apono_connector TEMPLATE template0 ENCODING 'UTF8';
REVOKE ALL ON DATABASE apono_connector FROM PUBLIC;
GRANT CONNECT ON DATABASE apono_connector TO apono_connector;
\connect apono_connector
-- The role makes its tables in there, and nothing anywhere else.
CREATE SCHEMA apono_connector AUTHORIZATION apono_connector;
