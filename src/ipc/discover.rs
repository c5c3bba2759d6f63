//! `rpc.discover`: the OpenRPC document, made from the method tables and the types of
//! parameters and results, so that it cannot say what the agent does not do.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Value as Json, json};

use super::answer::{API, API_MINOR};
use super::method::{Builtin, Method, Request};
use super::service::Event;

pub fn document() -> Json {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let methods: Vec<Json> = all().map(|method| describe(method, &mut generator)).collect();
    // What a subscriber gets is no method's result.
    generator.subschema_for::<Event>();
    json!({
        "openrpc": "1.3.2",
        "info": {
            "title": "Homing agent",
            "version": format!("{API}.{API_MINOR}"),
            "description": "JSON-RPC 2.0, one object a line, over the agent's Unix socket.",
        },
        "methods": methods,
        "components": { "schemas": generator.take_definitions(true) },
    })
}

pub fn all() -> impl Iterator<Item = &'static Method> {
    Builtin::METHODS.iter().chain(Request::METHODS)
}

fn describe(method: &Method, generator: &mut SchemaGenerator) -> Json {
    let given = (method.params_schema)(generator);
    let params = method.params.iter().map(|param| {
        let schema = given.get("properties").and_then(|all| all.get(param.name)).expect("BUG: a parameter has a type");
        json!({ "name": param.name, "required": param.required, "schema": schema })
    });
    let params: Vec<Json> = params.collect();
    json!({
        "name": method.name,
        "summary": method.summary,
        "paramStructure": "by-name",
        "params": params,
        "result": { "name": method.result, "schema": (method.result_schema)(generator) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method<'a>(document: &'a Json, name: &str) -> &'a Json {
        document["methods"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()
    }

    #[test]
    fn every_method_is_described_once_with_the_type_it_answers() {
        let document = document();
        let mut names: Vec<&str> =
            document["methods"].as_array().unwrap().iter().map(|method| method["name"].as_str().unwrap()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(count, all().count());
        let explain = method(&document, "row.explain");
        assert_eq!(explain["params"][1], json!({"name": "table", "required": true, "schema": {"type": "string"}}));
        for described in document["methods"].as_array().unwrap().iter().filter(|one| one["name"] != "rpc.discover") {
            let name = described["result"]["name"].as_str().unwrap();
            assert_eq!(described["result"]["schema"]["$ref"], format!("#/components/schemas/{name}"));
        }
        let status = &document["components"]["schemas"]["ReplicaStatus"]["properties"];
        assert_eq!(status["reason"]["anyOf"][0]["$ref"], "#/components/schemas/Reason");
    }

    /// `docs/ipc.md` names every member of every result.
    #[test]
    fn the_page_for_people_names_what_the_types_have() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ipc.md")).unwrap();
        let results = page.split("## Results").nth(1).unwrap().split("\n## ").next().unwrap();
        let words: Vec<&str> = results.split(|mark: char| !mark.is_alphanumeric() && mark != '_').collect();
        let document = document();
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            for member in schema["properties"].as_object().into_iter().flatten().map(|(member, _)| member) {
                let told = words.contains(&member.as_str()) || name == "Event";
                assert!(told, "docs/ipc.md does not name {member} of {name} among the results");
            }
        }
    }
}
