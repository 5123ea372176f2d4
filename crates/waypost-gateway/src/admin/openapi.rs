//! The administrators' side, described after `OpenAPI` 3.1.

use serde_json::{Map, Value, json};

use super::Route;

/// Describes routes.
pub(super) fn description(routes: &[Route]) -> Value {
    let mut paths = Map::new();
    for route in routes {
        let path = route.path.replace("{}", "{provider}/{model}");
        let operations = paths.entry(path).or_insert_with(|| json!({}));
        operations[route.method.as_str().to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Waypost administration", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    })
}

fn operation(route: &Route) -> Value {
    let parameter =
        |name: &str| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}});
    let parameters: Vec<_> =
        ["provider", "model"].into_iter().filter(|_| route.path.contains("{}")).map(parameter).collect();
    let security = if route.is_open { json!([]) } else { json!([{"key": []}, {}]) };
    json!({
        "summary": route.summary,
        "parameters": parameters,
        "security": security,
        "responses": {
            "200": {"description": "What was asked for"},
            "default": {"description": "An error, as OpenAI says it"},
        },
    })
}
