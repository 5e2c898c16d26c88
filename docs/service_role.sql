-- The login of the service in compose.yaml, which owns nothing. Postgres's image runs this file when it makes a new
-- database.
\set password `cat /run/secrets/service_password`
CREATE ROLE lottery_service LOGIN PASSWORD :'password';
