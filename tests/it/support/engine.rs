//! The real Elasticsearch and OpenSearch that the tests run against; `tests/services/up.sh` starts them.

use serde_json::Value;

/// One engine.
#[derive(Clone)]
pub struct Engine {
    pub name: &'static str,
    pub url: String,
    client: reqwest::Client,
    /// Elasticsearch without x-pack has no API that deletes a data stream: tests use the same one again and again.
    deletes_data_streams: bool,
}

impl Engine {
    /// `ELASTICSEARCH_URL`, else port 9200 of this machine.
    pub async fn elasticsearch() -> Engine {
        Self::at("elasticsearch", "ELASTICSEARCH_URL", "http://127.0.0.1:9200", false).await
    }

    /// `OPENSEARCH_URL`, else port 9201 of this machine.
    pub async fn opensearch() -> Engine {
        Self::at("opensearch", "OPENSEARCH_URL", "http://127.0.0.1:9201", true).await
    }

    pub async fn both() -> [Engine; 2] {
        [Self::elasticsearch().await, Self::opensearch().await]
    }

    async fn at(name: &'static str, variable: &str, default: &str, deletes_data_streams: bool) -> Engine {
        let url = std::env::var(variable).unwrap_or_else(|_| default.to_owned()).trim_end_matches('/').to_owned();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let engine = Engine { name, url, client, deletes_data_streams };
        let health = engine.client.get(format!("{}/_cluster/health", engine.url)).send().await;
        assert!(
            health.is_ok_and(|answer| answer.status().is_success()),
            "no {name} at {}: run `eval \"$(tests/services/up.sh)\"`, or set {variable}",
            engine.url
        );
        engine
    }

    /// Status and body of one request.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.client.request(method, format!("{}/{path}", self.url));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The same, where nothing but success will do.
    pub async fn ok(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert!((200..300).contains(&status), "{} {method} {path}: {status} {answer}", self.name);
        answer
    }

    /// The name of an index of this test alone, in this process alone.
    pub async fn index(&self, test: &str) -> String {
        format!("lftest-{test}-{}", std::process::id())
    }

    /// The name of a data stream of this test alone, for a sink that installs the template. It may hold records of
    /// earlier runs where it cannot be deleted.
    pub async fn data_stream(&self, test: &str) -> String {
        if self.deletes_data_streams {
            format!("logs-lftest.{test}-{}", std::process::id())
        } else {
            format!("logs-lftest.{test}-default")
        }
    }

    /// Deletes an index, a data stream, and the template that the sink made for it.
    pub async fn forget(&self, name: &str) {
        if name.starts_with("logs-") {
            if self.deletes_data_streams {
                self.call("DELETE", &format!("_data_stream/{name}"), None).await;
            } else {
                self.forget_older_backing_indices(name).await;
                return;
            }
        } else {
            self.call("DELETE", name, None).await;
        }
        self.call("DELETE", &format!("_index_template/logferry-{}", name.replace('*', "any")), None).await;
    }

    async fn forget_older_backing_indices(&self, name: &str) {
        let (status, answer) = self.call("GET", &format!("{name}/_settings/index.creation_date"), None).await;
        if status == 200 {
            for index in answer.as_object().expect("indices").keys() {
                self.call("DELETE", index, None).await; // the newest is refused, and stays
            }
        }
    }

    /// How many documents of an index or data stream match a query, after a refresh.
    pub async fn count(&self, name: &str, query: Value) -> u64 {
        self.ok("POST", &format!("{name}/_refresh"), None).await;
        let answer = self.ok("POST", &format!("{name}/_count"), Some(serde_json::json!({ "query": query }))).await;
        answer["count"].as_u64().expect("a count")
    }
}
