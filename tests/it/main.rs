//! Tests against real parts and strict imitations; `tests/services/up.sh` brings up what they need.

mod azure_credential;
mod azure_sink;
mod chaos;
mod command_line;
mod control;
mod delivery;
mod docker;
mod docker_access;
mod elasticsearch_sink;
mod evict;
mod files;
mod full_disk;
mod http;
mod http_sinks;
mod layers;
mod manifest;
mod redaction;
mod replay;
mod sink_faults;
mod support;
mod tap;
mod verify;
mod verify_azure;
mod whole;
