//! `rpc.discover`: the OpenRPC document, made from the method tables.

use serde_json::{Value as Json, json};

use super::answer::{API, API_MINOR};
use super::method::{Builtin, Method, Param, Request};

pub fn document() -> Json {
    let methods: Vec<Json> = all().map(describe).collect();
    json!({
        "openrpc": "1.3.2",
        "info": {
            "title": "Homing agent",
            "version": format!("{API}.{API_MINOR}"),
            "description": "JSON-RPC 2.0, one object a line, over the agent's Unix socket.",
        },
        "methods": methods,
    })
}

pub fn all() -> impl Iterator<Item = &'static Method> {
    Builtin::METHODS.iter().chain(Request::METHODS)
}

fn describe(method: &Method) -> Json {
    json!({
        "name": method.name,
        "summary": method.summary,
        "paramStructure": "by-name",
        "params": method.params.iter().map(parameter).collect::<Vec<_>>(),
        "result": { "name": method.result, "schema": { "type": "object" } },
    })
}

fn parameter(param: &Param) -> Json {
    let schema = if param.shape == "any" { json!(true) } else { json!({ "type": param.shape }) };
    json!({ "name": param.name, "required": param.required, "schema": schema })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_described_once() {
        let document = document();
        let mut names: Vec<&str> =
            document["methods"].as_array().unwrap().iter().map(|method| method["name"].as_str().unwrap()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(count, all().count());
        let explain = document["methods"].as_array().unwrap().iter().find(|one| one["name"] == "row.explain").unwrap();
        assert_eq!(explain["params"][1], json!({"name": "table", "required": true, "schema": {"type": "string"}}));
    }
}
