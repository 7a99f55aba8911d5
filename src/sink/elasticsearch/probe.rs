//! `check --online`: whether records would be accepted, without storing one.

use reqwest::Method;
use serde_json::Value;

use super::endpoints::{Body, Effect, Reply, Request};
use super::{Elasticsearch, answer, template};
use crate::record::time;
use crate::sink::{ItemAnswer, SendOutcome};

/// Id of the operation that is refused on purpose.
const PROBE_ID: &str = "logferry-probe";

/// What writing needs: storing new documents, and creating the index or data stream with the first of them.
const PRIVILEGES: [&str; 2] = ["create_doc", "auto_configure"];

/// What a server of the list said about itself.
struct Product {
    name: &'static str,
    version: Option<String>,
}

pub(super) async fn probe(sink: &Elasticsearch) -> Result<String, String> {
    let (found, dead) = look(sink).await?;
    if let Err(outcome) = template::ensure(sink).await {
        return Err(match outcome {
            SendOutcome::Refused { reason, .. } | SendOutcome::NotSent { reason } | SendOutcome::Unknown { reason } => {
                reason
            }
            SendOutcome::Accepted | SendOutcome::Items(_) => "the index template has no clear state".to_owned(),
        });
    }
    let mut text = format!("{found}, {} may be written", sink.index.pattern());
    let told = privileges(sink).await?.is_some();
    // A data stream may have a failure store, which would keep what is refused on purpose: the rights have to do.
    let rights_suffice = told && sink.index.names_data_stream();
    let tried = rights_suffice || may_write(sink).await?;
    if !tried && !told {
        text = format!("{found}, may be written; whether new indices may be created shows with the first record");
    }
    if !dead.is_empty() {
        text.push_str(&format!("; not reachable now: {}", dead.join("; ")));
    }
    Ok(text)
}

/// Asks every server who it is: the first that answered, and the reasons of those that did not.
async fn look(sink: &Elasticsearch) -> Result<(String, Vec<String>), String> {
    let request = Request { method: Method::GET, path: &[], query: "", body: None, effect: Effect::Repeatable };
    let mut found = None;
    let mut dead = Vec::new();
    for place in 0..sink.endpoints.names().count() {
        match sink.endpoints.call_at(place, &request).await {
            Ok(reply) => {
                credentials(&reply)?;
                if reply.status.is_redirection() || reply.status.as_u16() == 404 || reply.status.is_server_error() {
                    dead.push(reply.describe());
                } else if found.is_none() {
                    let version = version(sink, place).await;
                    found = Some(introduce(&reply, version));
                }
            }
            Err(failure) => dead.push(failure.to_string()),
        }
    }
    match found {
        Some(found) => Ok((found, dead)),
        None => Err(format!("no endpoint can be used: {}; check endpoints, proxy and ca_file", dead.join("; "))),
    }
}

fn credentials(reply: &Reply) -> Result<(), String> {
    if reply.status.as_u16() == 401 {
        return Err(format!("{}; check api_key, username and password, or bearer_token", reply.describe()));
    }
    Ok(())
}

/// The version by another question, for servers and rights that do not give it at `/`.
async fn version(sink: &Elasticsearch, place: usize) -> Option<String> {
    let request = Request {
        method: Method::GET,
        path: &["_nodes", "_local"],
        query: "filter_path=nodes.*.version",
        body: None,
        effect: Effect::Repeatable,
    };
    let reply = sink.endpoints.call_at(place, &request).await.ok()?;
    let answer: Value = serde_json::from_slice(&reply.body).ok()?;
    let node = answer.get("nodes")?.as_object()?.values().next()?;
    node.get("version")?.as_str().map(str::to_owned)
}

fn introduce(reply: &Reply, version: Option<String>) -> String {
    let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let at = |path: &str| answer.pointer(path).and_then(Value::as_str);
    let elasticsearch = reply.headers.get("x-elastic-product").is_some_and(|name| name == "Elasticsearch");
    let name = match at("/version/distribution") {
        Some("opensearch") => "OpenSearch",
        _ if elasticsearch => "Elasticsearch",
        _ => "a server that does not say what it is",
    };
    let product = Product { name, version: at("/version/number").map(str::to_owned).or(version) };
    match product.version {
        Some(version) => format!("{} {version} at {}", product.name, reply.endpoint),
        None => format!("{} at {}", product.name, reply.endpoint),
    }
}

/// What the server says of our rights. `None`: it does not know the question (no security, OpenSearch).
async fn privileges(sink: &Elasticsearch) -> Result<Option<()>, String> {
    let names = [sink.index.pattern()];
    let question = serde_json::json!({"index": [{"names": names, "privileges": PRIVILEGES}]});
    let request = Request {
        method: Method::POST,
        path: &["_security", "user", "_has_privileges"],
        query: "",
        body: Some(Body::json(&question)),
        effect: Effect::Repeatable,
    };
    let reply = sink.endpoints.call(&request).await.map_err(|failure| failure.to_string())?;
    credentials(&reply)?;
    let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    if !reply.status.is_success() || answer.get("has_all_requested").is_none() {
        return Ok(None);
    }
    let has = |privilege: &&&str| answer["index"][&names[0]][**privilege].as_bool() == Some(true);
    let missing: Vec<&str> = PRIVILEGES.iter().filter(|privilege| !has(privilege)).copied().collect();
    if missing.is_empty() {
        return Ok(Some(()));
    }
    Err(format!(
        "{}: the credentials have not the right to {} on {}; grant it",
        reply.endpoint,
        missing.join(" and "),
        names[0]
    ))
}

/// Sends an operation whose document is none: a server that would take a record refuses it as malformed.
/// Ok(false): only the way there could be tried, as the name depends on the record and nothing should be created.
async fn may_write(sink: &Elasticsearch) -> Result<bool, String> {
    let fixed = sink.index.fixed().is_some();
    let mut action = serde_json::json!({"create": {"_id": PROBE_ID}});
    if !fixed {
        let mut name = Vec::new();
        sink.index.write(time::now(), "probe", &mut name);
        action["create"]["_index"] = String::from_utf8_lossy(&name).into();
        action["create"]["require_alias"] = true.into();
    }
    let body = format!("{action}\n[]\n").into_bytes();
    let body = crate::sink::http::compress(&body, sink.compression).await.map_err(|error| error.to_string())?;
    let reply = sink.bulk(body.into()).await.map_err(|failure| failure.to_string())?;
    credentials(&reply)?;
    match reply.status.as_u16() {
        200 => {}
        403 => return Err(format!("{}; give the credentials the right to write", reply.describe())),
        413 => return Err(format!("{}; a proxy in front of the server refuses even small bodies", reply.describe())),
        _ => return Err(format!("{}; this is no _bulk API as Elasticsearch has it", reply.describe())),
    }
    let answer = answer::read(&reply.body, 1)
        .map_err(|reason| format!("{}: {reason}; this is no _bulk API as Elasticsearch has it", reply.endpoint))?;
    match answer.items.first() {
        Some(item) => judge(item, fixed).map_err(|reason| format!("{}: {reason}", reply.endpoint)),
        None => Ok(fixed),
    }
}

fn judge(item: &ItemAnswer, fixed: bool) -> Result<bool, String> {
    let said = format!("{} {} {}", item.status, item.kind, item.reason);
    match (item.status, item.kind.as_str()) {
        (400, "index_closed_exception") => Err(format!("the index is closed ({said}); open it")),
        (
            400,
            "document_parsing_exception" | "mapper_parsing_exception" | "parse_exception" | answer::FAILURE_STORE,
        ) => Ok(fixed),
        (404, _) if !fixed => Ok(false),
        (404, _) => Err(format!("the index is not there and may not be created ({said}); create it")),
        (403, "cluster_block_exception") => Err(format!("the index is blocked ({said}); remove the block")),
        (403, _) => Err(format!(
            "writing is not allowed ({said}); give the credentials create_doc, auto_configure and view_index_metadata"
        )),
        (429, _) => Err(format!("the server is overloaded or its disk is full ({said}); try again later")),
        _ => Err(format!("a record would be refused ({said})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_of_the_document_itself_is_a_good_sign() {
        let check = |status: u16, kind: &str, fixed: bool, expected: Result<bool, &str>| {
            let item = ItemAnswer { status, kind: kind.to_owned(), reason: "r".to_owned() };
            match (judge(&item, fixed), expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{status} {kind}"),
                (Err(reason), Err(expected)) => assert!(reason.contains(expected), "{status} {kind}: {reason}"),
                (got, _) => panic!("{status} {kind}: {got:?}"),
            }
        };
        check(400, "document_parsing_exception", true, Ok(true));
        check(400, "mapper_parsing_exception", true, Ok(true));
        check(404, "index_not_found_exception", false, Ok(false));
        check(404, "index_not_found_exception", true, Err("create it"));
        check(400, "index_closed_exception", true, Err("open it"));
        check(403, "cluster_block_exception", true, Err("blocked"));
        check(403, "security_exception", true, Err("not allowed"));
        check(429, "cluster_block_exception", true, Err("overloaded"));
        check(201, "", true, Err("would be refused"));
    }
}
